// sqs-consumer on a queue that the test has filled: node consumer.mjs URL single|batch EXPECTED
// Bodies say what is to happen: "ok", "once" fails at its first delivery, "never" fails always. Prints a ledger as JSON
// as soon as EXPECTED messages have been processed and the queue was found empty afterwards.

import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [queueUrl, mode, expected] = process.argv.slice(2);
const ledger = { processed: [], failed: 0, aborted: false, errors: [] };

function handle({ Body, Attributes }) {
  const [kind] = Body.split(" ");
  if (kind === "never" || (kind === "once" && Attributes.ApproximateReceiveCount === "1")) {
    ledger.failed += 1;
    throw new Error(Body);
  }
}

const handleMessage = async (message) => {
  handle(message);
  return message;
};

// What a batch handler returns is deleted; the rest stays and comes again.
const handleMessageBatch = async (messages) =>
  messages.filter((message) => {
    try {
      handle(message);
      return true;
    } catch {
      return false;
    }
  });

const consumer = Consumer.create({
  queueUrl,
  ...(mode === "single" ? { handleMessage } : { handleMessageBatch }),
  sqs: new SQSClient({}),
  batchSize: 10,
  waitTimeSeconds: 5, // longer than a message of the test stays hidden: a poll that finds nothing tells that all is done
  terminateVisibilityTimeout: true,
  messageSystemAttributeNames: ["ApproximateReceiveCount"],
  pollingCompleteWaitTimeMs: 5000,
});

consumer.on("message_processed", ({ Body }) => ledger.processed.push(Body));
consumer.on("processing_error", () => {}); // counted where it is thrown
consumer.on("error", (error) => {
  if (!consumer.status.isRunning) return; // the poll that was cut off
  ledger.errors.push(error.message);
  consumer.stop();
});
consumer.on("empty", () => {
  if (ledger.processed.length < Number(expected)) return;
  // Once more, and cut off: a poll that is parked when its caller goes away.
  setTimeout(() => consumer.stop({ abort: true }), 300);
});
consumer.on("aborted", () => (ledger.aborted = true));
consumer.on("stopped", () => console.log(JSON.stringify(ledger)));
consumer.start();
