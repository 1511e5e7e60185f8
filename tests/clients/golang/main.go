// The AWS SDK for Go v2, told of the endpoint by the environment. Prints what it saw, one JSON object.
// The SDK itself checks the MD5 of every body that it sends and receives; this program checks those of attributes, too.
package main

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	senders     = 8
	batchesEach = 5
	receivers   = 8
	messages    = senders * batchesEach * 10
	odd         = "<a href=\"x\">&amp; ' ]]> %20+& \t\r\n\r grün ☃ 👍"
)

func attributesOf(number int) map[string]types.MessageAttributeValue {
	return map[string]types.MessageAttributeValue{
		"number": {DataType: aws.String("Number"), StringValue: aws.String(fmt.Sprint(number))},
		"raw":    {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 13, 10, byte(number)}},
		"text":   {DataType: aws.String("String.odd"), StringValue: aws.String(odd)},
	}
}

// md5OfAttributes is as the developer guide of SQS describes it.
func md5OfAttributes(attributes map[string]types.MessageAttributeValue) string {
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	digest := md5.New()
	part := func(data []byte) {
		_ = binary.Write(digest, binary.BigEndian, uint32(len(data)))
		digest.Write(data)
	}
	for _, name := range names {
		value := attributes[name]
		part([]byte(name))
		part([]byte(*value.DataType))
		if value.StringValue != nil {
			digest.Write([]byte{1})
			part([]byte(*value.StringValue))
		} else {
			digest.Write([]byte{2})
			part(value.BinaryValue)
		}
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// work is what goroutines send and receive on one queue.
type work struct {
	client    *sqs.Client
	url       *string
	mutex     sync.Mutex
	sent      map[string]int
	received  map[string]int
	deleted   int
	wrong     []string
	cancelled int
}

func (w *work) note(format string, arguments ...any) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, arguments...))
}

func (w *work) send(ctx context.Context, sender int) {
	for batch := range batchesEach {
		var entries []types.SendMessageBatchRequestEntry
		for i := range 10 {
			number := (sender*batchesEach+batch)*10 + i
			entries = append(entries, types.SendMessageBatchRequestEntry{
				Id:                aws.String(fmt.Sprint(number)),
				MessageBody:       aws.String(fmt.Sprintf("%d %s", number, odd)),
				MessageAttributes: attributesOf(number),
			})
		}
		answer, err := w.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: w.url, Entries: entries})
		if err != nil {
			w.note("send: %v", err)
			return
		}
		w.mutex.Lock()
		for _, entry := range answer.Successful {
			var number int
			_, _ = fmt.Sscan(*entry.Id, &number)
			w.sent[*entry.MessageId] = number
			if *entry.MD5OfMessageAttributes != md5OfAttributes(attributesOf(number)) {
				w.wrong = append(w.wrong, "MD5 of attributes sent: "+*entry.MD5OfMessageAttributes)
			}
		}
		w.mutex.Unlock()
	}
}

// receive gives up every other poll early: the connection is closed while the poll is parked or being answered.
func (w *work) receive(ctx context.Context, done func(), receiver int) {
	for turn := receiver; ctx.Err() == nil; turn++ {
		timeout := 25 * time.Second
		if turn%2 == 0 {
			timeout = 30 * time.Millisecond
		}
		poll, cancel := context.WithTimeout(ctx, timeout)
		answer, err := w.client.ReceiveMessage(poll, &sqs.ReceiveMessageInput{
			QueueUrl: w.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20, MessageAttributeNames: []string{"All"},
		})
		late := poll.Err() != nil
		cancel()
		if err != nil {
			if !late {
				w.note("receive: %v", err)
				return
			}
			w.mutex.Lock()
			w.cancelled++
			w.mutex.Unlock()
			continue
		}
		w.take(ctx, answer.Messages)
		w.mutex.Lock()
		if w.deleted == messages {
			done()
		}
		w.mutex.Unlock()
	}
}

func (w *work) take(ctx context.Context, got []types.Message) {
	for _, message := range got {
		var number int
		_, _ = fmt.Sscan(*message.Body, &number)
		if *message.MD5OfMessageAttributes != md5OfAttributes(message.MessageAttributes) {
			w.note("MD5 of attributes received: %s", *message.MD5OfMessageAttributes)
		}
		if *message.Body != fmt.Sprintf("%d %s", number, odd) {
			w.note("body: %q", *message.Body)
		}
		_, err := w.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: message.ReceiptHandle})
		if err != nil {
			w.note("delete: %v", err)
			continue
		}
		w.mutex.Lock()
		if _, again := w.received[*message.MessageId]; !again {
			w.deleted++
		}
		w.received[*message.MessageId] = number
		w.mutex.Unlock()
	}
}

func traffic(ctx context.Context, client *sqs.Client) map[string]any {
	created, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName:  aws.String("go-traffic"),
		Attributes: map[string]string{"VisibilityTimeout": "5"},
	})
	if err != nil {
		log.Fatal(err)
	}
	w := &work{client: client, url: created.QueueUrl, sent: map[string]int{}, received: map[string]int{}}
	receiving, done := context.WithCancel(ctx)
	defer done()
	var group sync.WaitGroup
	for receiver := range receivers {
		group.Go(func() { w.receive(receiving, done, receiver) })
	}
	for sender := range senders {
		group.Go(func() { w.send(ctx, sender) })
	}
	group.Wait()
	same := len(w.sent) == len(w.received)
	for id, number := range w.sent {
		received, found := w.received[id]
		same = same && found && received == number
	}
	http := awsmiddleware.GetRawResponse(created.ResultMetadata).(*smithyhttp.Response).Proto
	return map[string]any{
		"http": http, "sent": len(w.sent), "same": same, "wrong": w.wrong, "cancelled": w.cancelled > 0,
	}
}

func failures(ctx context.Context, client *sqs.Client) map[string]any {
	_, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("go-none")})
	var none *types.QueueDoesNotExist
	var api smithy.APIError
	typed, general := errors.As(err, &none), errors.As(err, &api)
	told := map[string]any{"typed": typed, "general": general}
	if typed {
		told["code"], told["message"], told["fault"] = none.ErrorCode(), none.ErrorMessage(), none.ErrorFault().String()
	}
	return told
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(loaded)
	seen := map[string]any{"traffic": traffic(ctx, client), "failures": failures(ctx, client)}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}
