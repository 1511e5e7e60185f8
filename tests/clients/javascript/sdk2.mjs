// The AWS SDK for JavaScript v2, of today (JSON) or of before (Query): node sdk2.mjs aws-sdk | aws-sdk-query
// It sends every request that names a queue to the host of that queue's URL, and checks the MD5 of every body.
// Prints what it saw, one JSON object.

const [version] = process.argv.slice(2);
const { default: AWS } = await import(version);
const settings = { region: process.env.AWS_REGION, maxRetries: 0 };
const creating = new AWS.SQS({ ...settings, endpoint: process.env.AWS_ENDPOINT_URL_SQS });
const sqs = new AWS.SQS(settings); // knows no endpoint but the queue's URL
const types = new Set();

async function call(operation, parameters, service = sqs) {
  const request = service[operation](parameters);
  request.on("send", ({ request: { httpRequest } }) => types.add(httpRequest.headers["Content-Type"]));
  return request.promise();
}

const odd = `<a href="x">&amp; ' ]]> %20+& \t\r\n\r grün ☃ 👍`;
const create = { QueueName: `${version}.fifo`, Attributes: { FifoQueue: "true" } };
const { QueueUrl } = await call("createQueue", create, creating);
const sent = [];
for (let batch = 0; batch < 5; batch++) {
  const Entries = Array.from({ length: 10 }, (_, i) => ({
    Id: `e${i}`,
    MessageBody: `${batch * 10 + i} ${odd}`,
    MessageGroupId: "all",
    MessageDeduplicationId: `${batch}.${i}`,
    MessageAttributes: {
      raw: { DataType: "Binary", BinaryValue: Buffer.from([0, 255, 13, i]) },
      text: { DataType: "String", StringValue: odd },
    },
  }));
  const { Successful } = await call("sendMessageBatch", { QueueUrl, Entries });
  sent.push(...Successful.map(({ MessageId }) => MessageId));
}
const received = [];
let asSent = true;
for (;;) {
  const { Messages = [] } = await call("receiveMessage", {
    QueueUrl,
    MaxNumberOfMessages: 10,
    MessageAttributeNames: ["All"],
    AttributeNames: ["All"],
  });
  if (Messages.length === 0) break;
  for (const { MessageId, Body, MessageAttributes, Attributes } of Messages) {
    asSent &&= Body === `${received.length} ${odd}` && MessageAttributes.text.StringValue === odd;
    asSent &&= MessageAttributes.raw.BinaryValue[1] === 255 && Attributes.MessageGroupId === "all";
    received.push(MessageId);
  }
  const Entries = Messages.map(({ ReceiptHandle }, i) => ({ Id: `${i}`, ReceiptHandle }));
  await call("deleteMessageBatch", { QueueUrl, Entries });
}
await call("tagQueue", { QueueUrl, Tags: { by: "v2" } });
const { Tags } = await call("listQueueTags", { QueueUrl });

let error = null;
try {
  await call("sendMessage", { QueueUrl: QueueUrl.replace(".fifo", "-none"), MessageBody: "x" });
} catch ({ code, statusCode, message, requestId }) {
  error = { code, statusCode, message, requestId: typeof requestId };
}
const same = JSON.stringify(sent) === JSON.stringify(received);
console.log(JSON.stringify({ sent: sent.length, same, asSent, Tags, error, types: [...types] }));
