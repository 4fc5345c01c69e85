// Reads partitions by assignment with @platformatic/kafka: without a group, straight from each leader.
// Also reads back what kafkajs wrote, since kafkajs itself consumes only as a member of a group.

import { Consumer } from '@platformatic/kafka'
import { check, SECONDS } from './plan.js'

const NO_ID = '00000000-0000-0000-0000-000000000000'

export function makeConsumer(bootstrap) {
  // The class insists on a group id; nothing here ever joins it.
  return new Consumer({ clientId: 'interop', groupId: 'never-joined', bootstrapBrokers: [bootstrap], retries: 3 })
}

// Everything from each partition's first offset up to its end, as a map of partition to records.
export async function readAll(consumer, topic, partitions) {
  const got = new Map()
  for (const partition of partitions) {
    got.set(partition, await readPartition(consumer, topic, partition))
  }
  return got
}

async function readPartition(consumer, topic, partition) {
  const metadata = await consumer.metadata({ topics: [topic], forceUpdate: true })
  const { id, partitions } = metadata.topics.get(topic)
  // Brokers know topics by id from Fetch 13 on; in Fetch 12 this client sends the same field as the name.
  const topicId = id && id !== NO_ID ? id : topic
  let next = await offsetOf(consumer, topic, partition, -2n)
  const end = await offsetOf(consumer, topic, partition, -1n)
  const records = []
  const deadline = Date.now() + 2 * SECONDS * 1000
  while (next < end) {
    check(Date.now() < deadline, `consuming: partition ${partition} got no further than offset ${next} of ${end}`)
    const answer = await consumer.fetch({
      node: partitions[partition].leader,
      maxWaitTime: 500,
      minBytes: 1,
      topics: [{
        topicId,
        partitions: [{
          partition,
          currentLeaderEpoch: -1,
          fetchOffset: next,
          lastFetchedEpoch: -1,
          partitionMaxBytes: 1024 * 1024
        }]
      }]
    })
    for (const batch of answer.responses.flatMap(t => t.partitions).flatMap(p => p.records ?? [])) {
      for (const record of batch.records) {
        const offset = batch.firstOffset + BigInt(record.offsetDelta)
        // A broker answers with whole batches, and one may begin before the offset asked for.
        if (offset < next) continue
        records.push({ offset: Number(offset), key: record.key, value: record.value })
        next = offset + 1n
      }
    }
  }
  return records
}

// Whether each partition's leader answers for it. These clients send a whole request again when one partition
// in it is not ready, and the others then have its records twice, as they would from any broker.
export async function leadersAnswer(consumer, topic, count) {
  await consumer.metadata({ topics: [topic], forceUpdate: true })
  try {
    const offsets = (await consumer.listOffsets({ topics: [topic] })).get(topic)
    return offsets.length === count && offsets.every(offset => offset >= 0n)
  } catch {
    return false
  }
}

export async function offsetOf(consumer, topic, partition, timestamp) {
  const offsets = await consumer.listOffsets({ topics: [topic], partitions: { [topic]: [partition] }, timestamp })
  return offsets.get(topic)[partition]
}
