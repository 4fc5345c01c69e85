// kafkajs: no release since 2023, still what most Node programs use; speaks old protocol versions.
// It has gzip built in and the other codecs only by add-ons, and it consumes only in a group, so
// @platformatic/kafka reads back what it wrote, beside what its own group has seen.

import kafkajs from 'kafkajs'
import { checkGroup } from './group.js'
import { PARTITIONS, SECONDS, check, main, waitUntil } from './plan.js'
import { leadersAnswer, makeConsumer, readAll } from './platformatic-read.js'

const { CompressionTypes, ConfigResourceTypes, Kafka, Partitioners, logLevel } = kafkajs

async function run(plan, bootstrap) {
  const { topic } = plan
  const kafka = new Kafka({
    clientId: 'interop',
    brokers: [bootstrap],
    requestTimeout: SECONDS * 1000,
    retry: { retries: 3 },
    logLevel: logLevel.NOTHING
  })
  const admin = kafka.admin()
  await admin.connect()
  const consumer = makeConsumer(bootstrap)

  const configEntries = [{ name: 'retention.ms', value: '86400000' }]
  const created = [{ topic, numPartitions: PARTITIONS, replicationFactor: 1, configEntries }]
  check(await admin.createTopics({ topics: created }), 'creating: says it exists already')
  check(!(await admin.createTopics({ topics: created })), 'a topic could be created twice')
  plan.done('create')

  const described = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions
  check((await admin.listTopics()).includes(topic), 'the new topic is not listed')
  check((await described()).length === PARTITIONS, 'described with another number of partitions')
  plan.done('list describe')

  const retention = async () => {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms'] }]
    const answer = await admin.describeConfigs({ resources, includeSynonyms: false })
    return answer.resources[0].configEntries.find(entry => entry.configName === 'retention.ms')?.configValue
  }
  check((await retention()) === '86400000', 'describe configs lost what create set')
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{
      type: ConfigResourceTypes.TOPIC,
      name: topic,
      configEntries: [{ name: 'retention.ms', value: '172800000' }]
    }]
  })
  await waitUntil('retention.ms altered', async () => (await retention()) === '172800000')
  plan.done('describe-configs alter-configs')

  const ends = async () => new Map((await admin.fetchTopicOffsets(topic)).map(o => [o.partition, o]))
  const produce = (phase, settings, idempotent = false) => producePhase(plan, kafka, phase, settings, idempotent)
  await waitUntil('leaders answer', () => leadersAnswer(consumer, topic, PARTITIONS))
  await produce('none', { acks: -1 })
  await produce('gzip', { acks: -1, compression: CompressionTypes.GZIP })
  await produce('acks1', { acks: 1 })
  await produce('acks0', { acks: 0 })
  // Nobody acknowledged those, so wait for them: what follows must come after them.
  await waitUntil('acks=0 arrived', async () => {
    const now = await ends()
    return [...plan.sent.keys()].every(p => Number(now.get(p).high) === plan.end(p))
  })
  await produce('idempotent', { acks: -1 }, true)

  for (const [p, { low, high }] of await ends()) {
    check(low === '0' && Number(high) === plan.end(p), `partition ${p} goes from ${low} to ${high}`)
  }
  plan.done('earliest latest')
  for (const [step, n] of [['by-timestamp', 5], ['by-timestamp-compressed', 20]]) {
    const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, plan.firstTimestamp + n)
    const found = Number(offsets.find(o => o.partition === 1).offset)
    check(found === n, `${step}: offset ${found}, but the record of that time has ${n}`)
    plan.done(step)
  }

  for (const [p, got] of await readAll(consumer, topic, plan.sent.keys())) plan.compare(p, got)
  plan.done('read-back')

  await checkGroup(plan, {
    join: seen => join(plan, kafka, seen),
    produce: phase => produce(phase, { acks: -1 }),
    committed: async () => {
      const [{ partitions }] = await admin.fetchOffsets({ groupId: groupOf(plan), topics: [topic] })
      return new Map(partitions.map(({ partition, offset }) => [partition, offset]))
    }
  })
  const { groups } = await admin.listGroups()
  check(groups.some(group => group.groupId === groupOf(plan)), 'the group is not listed')
  await waitUntil('the group is empty', async () => (
    (await admin.describeGroups([groupOf(plan)])).groups[0].state === 'Empty'
  ))
  await admin.deleteGroups([groupOf(plan)])
  plan.done('group')

  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '10' }] })
  check((await ends()).get(0).low === '10', 'deleted records, and the log still starts before them')
  plan.compare(0, (await readAll(consumer, topic, [0])).get(0), 10)
  plan.done('delete-records')

  await admin.createPartitions({ topicPartitions: [{ topic, count: PARTITIONS + 2 }] })
  await waitUntil('partitions added', async () => (await described()).length === PARTITIONS + 2)
  await waitUntil('leaders answer', () => leadersAnswer(consumer, topic, PARTITIONS + 2))
  const added = PARTITIONS + 1
  plan.sent.set(added, [])
  await produce('added', { acks: -1 })
  plan.compare(added, (await readAll(consumer, topic, [added])).get(added))
  plan.done('add-partitions')

  await admin.deleteTopics({ topics: [topic] })
  await waitUntil('topic gone', async () => !(await admin.listTopics()).includes(topic))
  plan.done('delete-topic')
}

const groupOf = plan => `${plan.topic}-group`

async function join(plan, kafka, seen) {
  const consumer = kafka.consumer({ groupId: groupOf(plan), sessionTimeout: 6000, heartbeatInterval: 1000 })
  let owned = 0
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    owned = (payload.memberAssignment[plan.topic] ?? []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topic: plan.topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => seen.add(partition, message.offset) })
  return { owns: () => owned, leave: () => consumer.disconnect() }
}

async function producePhase(plan, kafka, phase, settings, idempotent) {
  const createPartitioner = Partitioners.DefaultPartitioner
  const producer = kafka.producer({ idempotent, createPartitioner, allowAutoTopicCreation: false })
  await producer.connect()
  const first = new Map([...plan.sent.keys()].map(p => [p, plan.end(p)]))
  const messages = plan.phase(phase).map(({ key, value, partition, timestamp }) => (
    { key, value, partition, timestamp: String(timestamp) }
  ))
  const answers = await producer.send({ topic: plan.topic, messages, ...settings })
  for (const { partition, baseOffset } of phase === 'acks0' ? [] : answers) {
    check(Number(baseOffset) === first.get(partition),
      `producing ${phase}: partition ${partition} got offset ${baseOffset}, expected ${first.get(partition)}`)
  }
  check(phase === 'acks0' || answers.length === first.size, `producing ${phase}: ${answers.length} partitions answered`)
  await producer.disconnect()
  if (phase !== 'added') plan.done(phase)
}

await main('kafkajs', run)
