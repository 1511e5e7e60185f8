package clients;

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.services.sqs.SqsAsyncClient;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.batchmanager.SqsAsyncBatchManager;
import software.amazon.awssdk.services.sqs.model.Message;
import software.amazon.awssdk.services.sqs.model.MessageAttributeValue;
import software.amazon.awssdk.services.sqs.model.QueueDoesNotExistException;
import software.amazon.awssdk.services.sqs.model.QueueAttributeName;
import software.amazon.awssdk.services.sqs.model.SendMessageBatchRequestEntry;
import software.amazon.awssdk.services.sqs.model.SendMessageResponse;

/**
 * The AWS SDK for Java 2: java clients.Sqs ENDPOINT. Prints what it saw, a line for each: name, equals sign, value.
 * The SDK itself checks the MD5 of bodies and of attributes, sent and received, and throws where one is wrong.
 */
public final class Sqs {
    private static final String ODD = "<a href=\"x\">&amp; ' ]]> %20+& \t\r\n\r grün ☃ 👍";
    private static final int MESSAGES = 200;
    private static final Map<String, Object> seen = new TreeMap<>();

    public static void main(String[] arguments) {
        URI endpoint = URI.create(arguments[0]);
        try (SqsClient sqs = SqsClient.builder().endpointOverride(endpoint).build()) {
            oneByOne(sqs);
            errors(sqs);
        }
        for (Protocol protocol : List.of(Protocol.HTTP1_1, Protocol.HTTP2)) {
            try (SqsAsyncClient sqs = SqsAsyncClient.builder()
                    .endpointOverride(endpoint)
                    .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(protocol))
                    .build()) {
                manyAtOnce(sqs, "java-" + protocol);
                batched(sqs, "java-batched-" + protocol);
            }
        }
        seen.forEach((name, value) -> System.out.println(name + "=" + value));
        System.exit(0); // threads of the SDK that are about to end
    }

    private static Map<String, MessageAttributeValue> attributesOf(int number) {
        return Map.of(
                "number", MessageAttributeValue.builder().dataType("Number").stringValue("" + number).build(),
                "text", MessageAttributeValue.builder().dataType("String.odd").stringValue(ODD).build(),
                "raw", MessageAttributeValue.builder().dataType("Binary")
                        .binaryValue(SdkBytes.fromByteArray(new byte[] {0, -1, 13, 10, (byte) number})).build());
    }

    private static boolean asSent(Message message) {
        int number = Integer.parseInt(message.body().substring(0, message.body().indexOf(' ')));
        return message.body().equals(number + " " + ODD) && message.messageAttributes().equals(attributesOf(number));
    }

    private static void oneByOne(SqsClient sqs) {
        String url = sqs.createQueue(queue -> queue.queueName("java-sync")).queueUrl();
        Map<String, Integer> sent = new HashMap<>();
        for (int batch = 0; batch < MESSAGES / 10; batch++) {
            int first = batch * 10;
            List<SendMessageBatchRequestEntry> entries = IntStream.range(first, first + 10)
                    .mapToObj(number -> SendMessageBatchRequestEntry.builder().id("" + number)
                            .messageBody(number + " " + ODD).messageAttributes(attributesOf(number)).build())
                    .collect(Collectors.toList());
            sqs.sendMessageBatch(send -> send.queueUrl(url).entries(entries)).successful()
                    .forEach(entry -> sent.put(entry.messageId(), Integer.parseInt(entry.id())));
        }
        int received = 0;
        boolean same = true;
        List<Message> got;
        do {
            got = sqs.receiveMessage(receive -> receive.queueUrl(url).maxNumberOfMessages(10)
                    .messageAttributeNames("All")).messages();
            for (Message message : got) {
                received++;
                same &= asSent(message) && sent.remove(message.messageId()) != null;
                sqs.deleteMessage(delete -> delete.queueUrl(url).receiptHandle(message.receiptHandle()));
            }
        } while (!got.isEmpty());
        seen.put("sync.received", received);
        seen.put("sync.same", same && sent.isEmpty());
    }

    private static void errors(SqsClient sqs) {
        try {
            sqs.getQueueUrl(find -> find.queueName("java-none"));
        } catch (QueueDoesNotExistException none) {
            seen.put("error.code", none.awsErrorDetails().errorCode());
            seen.put("error.message", none.awsErrorDetails().errorMessage());
            seen.put("error.status", none.statusCode());
        }
    }

    /** All sends and all polls at once: on HTTP/2 they share connections. */
    private static void manyAtOnce(SqsAsyncClient sqs, String name) {
        String url = sqs.createQueue(queue -> queue.queueName(name)).join().queueUrl();
        List<CompletableFuture<List<Message>>> polls = IntStream.range(0, 20)
                .mapToObj(i -> sqs.receiveMessage(receive -> receive.queueUrl(url).maxNumberOfMessages(1)
                        .waitTimeSeconds(20).messageAttributeNames("All"))
                        .thenApply(answer -> answer.messages()))
                .collect(Collectors.toList());
        List<CompletableFuture<SendMessageResponse>> sends = IntStream.range(0, 20)
                .mapToObj(number -> sqs.sendMessage(send -> send.queueUrl(url).messageBody(number + " " + ODD)
                        .messageAttributes(attributesOf(number))))
                .collect(Collectors.toList());
        List<String> sent = sends.stream().map(CompletableFuture::join).map(SendMessageResponse::messageId).sorted()
                .collect(Collectors.toList());
        List<Message> got = polls.stream().map(CompletableFuture::join).flatMap(List::stream)
                .collect(Collectors.toList());
        seen.put(name + ".same", sent.equals(got.stream().map(Message::messageId).sorted().collect(Collectors.toList()))
                && got.stream().allMatch(Sqs::asSent));
        CompletableFuture.allOf(got.stream()
                .map(message -> sqs.deleteMessage(delete -> delete.queueUrl(url).receiptHandle(message.receiptHandle())))
                .toArray(CompletableFuture[]::new)).join();
    }

    /** The SDK's own batching: single calls in, batches on the wire, messages fetched ahead. */
    private static void batched(SqsAsyncClient sqs, String name) {
        String url = sqs.createQueue(queue -> queue.queueName(name)
                .attributes(Map.of(QueueAttributeName.VISIBILITY_TIMEOUT, "60"))).join().queueUrl();
        List<String> sent;
        List<String> received = Collections.synchronizedList(new ArrayList<>());
        try (SqsAsyncBatchManager manager = sqs.batchManager()) {
            List<CompletableFuture<SendMessageResponse>> sends = IntStream.range(0, MESSAGES)
                    .mapToObj(number -> manager.sendMessage(send -> send.queueUrl(url).messageBody(number + " " + ODD)
                            .messageAttributes(attributesOf(number))))
                    .collect(Collectors.toList());
            sent = sends.stream().map(CompletableFuture::join).map(SendMessageResponse::messageId).sorted()
                    .collect(Collectors.toList());
            long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
            while (received.size() < MESSAGES && System.nanoTime() < deadline) {
                List<Message> got = manager.receiveMessage(receive -> receive.queueUrl(url).maxNumberOfMessages(10)
                        .waitTimeSeconds(1)).join().messages();
                CompletableFuture.allOf(got.stream()
                        .map(message -> manager.deleteMessage(delete -> delete.queueUrl(url)
                                .receiptHandle(message.receiptHandle()))
                                .thenRun(() -> received.add(message.messageId())))
                        .toArray(CompletableFuture[]::new)).join();
            }
        }
        String[] all = received.toArray(String[]::new);
        Arrays.sort(all);
        seen.put(name + ".same", sent.size() == MESSAGES && sent.equals(Arrays.asList(all)));
    }
}
