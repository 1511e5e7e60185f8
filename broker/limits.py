"""Every number that AWS promises and every bound that Heddle sets, each with its unit and its source.

No other module spells these digits. "SQS" is the Amazon SQS API reference and developer guide (2012-11-05); "ours" is
a choice of Heddle's, with the reason beside it.
"""

from typing import Final

# --- queues: messages (SQS)
MESSAGE_BYTES_MAX: Final = 1_048_576  # SendMessage: body and attributes together; 1 MiB since August 2025
BATCH_ENTRIES_MAX: Final = 10  # SendMessageBatch and the other batch calls
BATCH_REQUEST_BYTES_MAX: Final = 1_048_576  # SendMessageBatch: all entries together
MESSAGE_ATTRIBUTES_MAX: Final = 10  # SendMessage
ATTRIBUTE_NAME_CHARACTERS_MAX: Final = 256  # message attribute names
ATTRIBUTE_TYPE_CHARACTERS_MAX: Final = 256  # message attribute data types
TRACE_HEADER_CHARACTERS_MAX: Final = 1_024  # AWSTraceHeader; ours: it does not count towards the size of a message
GROUP_ID_CHARACTERS_MAX: Final = 128  # MessageGroupId, MessageDeduplicationId
ENTRY_ID_CHARACTERS_MAX: Final = 80  # Id of a batch entry
DELAY_SECONDS_MAX: Final = 900  # DelaySeconds
VISIBILITY_TIMEOUT_SECONDS_MAX: Final = 43_200  # 12 hours, in total since the receive
WAIT_TIME_SECONDS_MAX: Final = 20  # ReceiveMessage, WaitTimeSeconds
RECEIVE_MESSAGES_MAX: Final = 10  # ReceiveMessage, MaxNumberOfMessages
IN_FLIGHT_MESSAGES_MAX: Final = 120_000  # per standard queue
RECEIPT_HANDLE_CHARACTERS_MAX: Final = 1_024

# --- queues: attributes (SQS)
QUEUE_NAME_CHARACTERS_MAX: Final = 80
MESSAGE_SIZE_ATTRIBUTE_BYTES_MIN: Final = 1_024  # MaximumMessageSize
RETENTION_SECONDS_MIN: Final = 60  # MessageRetentionPeriod
RETENTION_SECONDS_MAX: Final = 1_209_600  # 14 days
RETENTION_SECONDS_DEFAULT: Final = 345_600  # 4 days
VISIBILITY_TIMEOUT_SECONDS_DEFAULT: Final = 30
KMS_KEY_ID_CHARACTERS_MAX: Final = 2_048  # KmsMasterKeyId (KMS API reference, KeyId)
KMS_REUSE_SECONDS_MIN: Final = 60  # KmsDataKeyReusePeriodSeconds
KMS_REUSE_SECONDS_MAX: Final = 86_400
KMS_REUSE_SECONDS_DEFAULT: Final = 300
POLICY_BYTES_MAX: Final = 8_192  # Policy; this and the next four are its quotas
POLICY_STATEMENTS_MAX: Final = 20
POLICY_PRINCIPALS_MAX: Final = 50  # in all statements
POLICY_CONDITIONS_MAX: Final = 10  # in all statements
POLICY_STATEMENT_ACTIONS_MAX: Final = 7  # in each statement; AddPermission likewise
LABEL_CHARACTERS_MAX: Final = 80  # AddPermission, Label
PERMISSION_ACTIONS: Final = (  # AddPermission, Actions: what others may be given
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
)
TAGS_MAX: Final = 50
TAG_KEY_CHARACTERS_MAX: Final = 128
TAG_VALUE_CHARACTERS_MAX: Final = 256
REDRIVE_POLICY_CHARACTERS_MAX: Final = 8_192  # ours, as of Policy; the largest that is valid has ten ARNs
TASK_HANDLE_CHARACTERS_MAX: Final = 1_000  # ours; those that are given out have about 200
LIST_RESULTS_MAX: Final = 1_000  # ListQueues, MaxResults
QUEUE_DELETED_RECENTLY_SECONDS: Final = 60  # CreateQueue after DeleteQueue
PURGE_INTERVAL_SECONDS: Final = 60  # PurgeQueue after PurgeQueue

# --- streaming calls (ours)
REQUEST_BYTES_MAX: Final = 4_194_304  # any request; twice the largest that makes sense, refused before it is read
PRODUCE_BATCH_BYTES_MAX: Final = 2_097_152  # two messages of the largest size; larger values fragment LMDB's free list
PRODUCE_BATCH_MESSAGES_MAX: Final = 10_000  # keeps one parse on the main thread under half a millisecond
CONSUME_CREDIT_MAX: Final = IN_FLIGHT_MESSAGES_MAX  # more could never be in flight
CONSUME_RANGES_MAX: Final = 10_000  # ranges in one request: one request stays a few milliseconds of work
LARGE_ANSWER_BYTES: Final = 262_144  # of a receive; from here on one answer is made a turn of the loop (1 ms or more)
CONSUME_BUFFERED_BYTES_MAX: Final = 4_194_304  # deliveries waiting for a slow stream
PEEK_MESSAGES_MAX: Final = 100
PEEK_BYTES_MAX: Final = 2_097_152  # with one message more, below the 4 MiB that gRPC clients take by default
PRODUCE_RESULTS_WAITING_MAX: Final = 10_000  # of a client that reads none; then its requests wait
CONSUME_DELIVERIES_A_TURN_MAX: Final = 200  # about 30 µs each; then the next in line

# --- the log (ours)
COALESCED_BATCH_BYTES_MAX: Final = 262_144  # small sends of one commit share a batch up to here
COALESCED_BATCH_MS_MAX: Final = 20  # and this time apart at most, since they also share their SentTimestamp
ENTRY_INDEX_MAX: Final = 256  # entries of one log kept in memory; others are one range scan away
ENTRY_READ_AHEAD: Final = 64  # entries read in one scan when the index misses

# --- slices: the most that one step does on the main thread before it yields (ours; each measured at 1 to 3 ms)
SWEEP_ENTRIES_MAX: Final = 500
SWEEP_ID_ROWS_MAX: Final = 64  # of deduplication ids, about 25 KB each
RECEIVE_PASSED_MAX: Final = 1_000  # expired messages and dead letters that one receive clears out of its way
EXPIRY_RUNS_MAX: Final = 100
LOOK_AHEAD_BYTES_A_STEP_MAX: Final = 2_097_152  # of messages whose groups are read in one step
EXPIRY_MESSAGES_MAX: Final = 20_000
LOOK_AHEAD_A_STEP_MAX: Final = 5_000  # messages whose groups are read in one step: up to 8 ms
LOOK_AHEAD_ENTRY_COST: Final = 20  # what an entry takes, in messages: 25 µs

# --- FIFO queues
LOOK_AHEAD_MESSAGES: Final = 120_000  # SQS: how far a FIFO queue looks for groups that may be delivered
UNBLOCKED_AHEAD_MESSAGES: Final = 4_000  # ours: how far while some may be, and there are many groups; see window.py
UNBLOCKED_AHEAD_GROUPS: Final = 1_000  # ours: so many are many
RECEIVE_ATTEMPT_SECONDS: Final = 300  # SQS: ReceiveRequestAttemptId
RECEIVE_ATTEMPTS_MAX: Final = 10_000  # ours: attempts remembered for a queue; the oldest are forgotten first
SEQUENCE_NUMBER_BASE: Final = 10**19  # ours: SequenceNumber is this plus the message's place, 20 digits as on AWS

assert PRODUCE_BATCH_BYTES_MAX >= MESSAGE_BYTES_MAX
assert RETENTION_SECONDS_MIN <= RETENTION_SECONDS_DEFAULT <= RETENTION_SECONDS_MAX
