// The AWS SDK for JavaScript v3, told of the endpoint by the environment. Prints what it saw, one JSON object.
// The SDK itself checks the MD5 of every body that it sends and receives, and throws where one is wrong.

import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  DeleteQueueCommand,
  GetQueueUrlCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SQSClient,
  SQSServiceException,
  SendMessageBatchCommand,
  SendMessageCommand,
} from "@aws-sdk/client-sqs";

const sqs = new SQSClient({});

const create = async (QueueName, Attributes = {}) =>
  (await sqs.send(new CreateQueueCommand({ QueueName, Attributes }))).QueueUrl;

const receive = async (QueueUrl, more = {}) =>
  (await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, ...more }))).Messages ?? [];

const remove = async (QueueUrl, messages) => {
  const Entries = messages.map(({ ReceiptHandle }, i) => ({ Id: `${i}`, ReceiptHandle }));
  return (await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))).Successful.length;
};

async function batches() {
  const QueueUrl = await create("js-batches");
  const sent = [];
  for (let batch = 0; batch < 20; batch++) {
    const Entries = Array.from({ length: 10 }, (_, i) => ({
      Id: `e${i}`,
      MessageBody: `${batch}.${i} <grün> & "☃" 👍 \r\n\t`,
      MessageAttributes: {
        raw: { DataType: "Binary", BinaryValue: Uint8Array.from([0, 255, batch, i]) },
        number: { DataType: "Number", StringValue: `${batch}` },
      },
    }));
    const { Successful } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
    sent.push(...Successful.map(({ MessageId }) => MessageId));
  }
  const received = [];
  const wrong = [];
  let deleted = 0;
  for (let got; (got = await receive(QueueUrl, { MessageAttributeNames: ["All"] })).length > 0; ) {
    for (const { MessageId, Body, MessageAttributes } of got) {
      received.push(MessageId);
      const [, , batch, i] = MessageAttributes.raw.BinaryValue;
      if (Body !== `${batch}.${i} <grün> & "☃" 👍 \r\n\t` || MessageAttributes.number.StringValue !== `${batch}`) {
        wrong.push(Body);
      }
    }
    deleted += await remove(QueueUrl, got);
  }
  return { sent, received, wrong, deleted };
}

async function visibility() {
  const QueueUrl = await create("js-visibility");
  const { MessageId } = await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "again" }));
  const counts = [];
  for (let i = 0; i < 3; i++) {
    const MessageSystemAttributeNames = ["ApproximateReceiveCount", "SentTimestamp"];
    const [message] = await receive(QueueUrl, { MessageSystemAttributeNames });
    if (message.MessageId !== MessageId) throw new Error("another message");
    counts.push(message.Attributes.ApproximateReceiveCount);
    const { ReceiptHandle } = message;
    await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 }));
  }
  const [{ ReceiptHandle }] = await receive(QueueUrl);
  const whileInFlight = (await receive(QueueUrl)).length;
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
  return { counts, whileInFlight };
}

async function fifo() {
  const QueueUrl = await create("js.fifo", { FifoQueue: "true", ContentBasedDeduplication: "true" });
  for (let i = 0; i < 40; i++) {
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: `${i}`, MessageGroupId: `g${i % 4}` }));
  }
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "0", MessageGroupId: "g0" })); // a duplicate
  const groups = {};
  for (let got; (got = await receive(QueueUrl, { MessageSystemAttributeNames: ["All"] })).length > 0; ) {
    for (const { Body, Attributes } of got) (groups[Attributes.MessageGroupId] ??= []).push(Number(Body));
    await remove(QueueUrl, got);
  }
  return groups;
}

async function failure(send) {
  try {
    await send();
  } catch (error) {
    return {
      name: error.name,
      ofItsClass: error instanceof QueueDoesNotExist,
      ofTheService: error instanceof SQSServiceException,
      message: error.message,
      status: error.$metadata.httpStatusCode,
      fault: error.$fault,
      code: error.Code ?? null,
      requestId: typeof error.$metadata.requestId,
    };
  }
  return null;
}

async function errors() {
  const QueueUrl = await create("js-deleted");
  await sqs.send(new DeleteQueueCommand({ QueueUrl }));
  const Entries = [{ Id: "same", MessageBody: "a" }, { Id: "same", MessageBody: "b" }];
  const standing = await create("js-errors");
  return {
    send: await failure(() => sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "late" }))),
    receive: await failure(() => receive(QueueUrl)),
    find: await failure(() => sqs.send(new GetQueueUrlCommand({ QueueName: "js-deleted" }))),
    batch: await failure(() => sqs.send(new SendMessageBatchCommand({ QueueUrl: standing, Entries }))),
    handle: await failure(() => sqs.send(new DeleteMessageCommand({ QueueUrl: standing, ReceiptHandle: "none" }))),
  };
}

/** A client that knows no endpoint sends each request to the host of the queue's URL. */
async function endpointOfTheQueue() {
  const QueueUrl = await create("js-by-url");
  const endpoint = process.env.AWS_ENDPOINT_URL_SQS;
  delete process.env.AWS_ENDPOINT_URL_SQS;
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const byUrl = new SQSClient({ logger });
  const { MessageId } = await byUrl.send(new SendMessageCommand({ QueueUrl, MessageBody: "by its URL" }));
  const { Messages } = await byUrl.send(new ReceiveMessageCommand({ QueueUrl }));
  await byUrl.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: Messages[0].ReceiptHandle }));
  process.env.AWS_ENDPOINT_URL_SQS = endpoint;
  return { same: Messages[0].MessageId === MessageId, body: Messages[0].Body };
}

const seen = {};
for (const part of [batches, visibility, fifo, errors, endpointOfTheQueue]) seen[part.name] = await part();
console.log(JSON.stringify(seen));
