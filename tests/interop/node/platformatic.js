// @platformatic/kafka: a client of its own, all in JavaScript, on the newest protocol versions.

import {
  Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, MessagesStreamModes, Producer
} from '@platformatic/kafka'
import { checkGroup } from './group.js'
import { PARTITIONS, check, main, waitUntil } from './plan.js'
import { leadersAnswer, makeConsumer, offsetOf, readAll } from './platformatic-read.js'

async function run(plan, bootstrap) {
  const { topic } = plan
  const options = { clientId: 'interop', bootstrapBrokers: [bootstrap], retries: 3 }
  const admin = new Admin(options)
  const consumer = makeConsumer(bootstrap)
  const partitionCount = async () =>
    (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitionsCount

  const configs = [{ name: 'retention.ms', value: '86400000' }]
  await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1, configs })
  const twice = await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 }).catch(error => error)
  check(twice instanceof Error, 'a topic could be created twice')
  plan.done('create')

  check((await admin.listTopics()).includes(topic), 'the new topic is not listed')
  await waitUntil('all partitions described', async () => (await partitionCount()) === PARTITIONS)
  plan.done('list describe')

  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
  const retention = async () => {
    const [described] = await admin.describeConfigs({ resources: [resource] })
    return described.configs.find(config => config.name === 'retention.ms')?.value
  }
  check((await retention()) === '86400000', 'describe configs lost what create set')
  const configOperation = IncrementalAlterConfigOperationTypes.SET
  await admin.incrementalAlterConfigs({
    resources: [{ ...resource, configs: [{ name: 'retention.ms', value: '172800000', configOperation }] }]
  })
  await waitUntil('retention.ms altered', async () => (await retention()) === '172800000')
  plan.done('describe-configs alter-configs')

  await waitUntil('leaders answer', () => leadersAnswer(consumer, topic, PARTITIONS))
  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    await produce(plan, options, compression, { acks: -1, compression })
  }
  await produce(plan, options, 'acks1', { acks: 1 })
  await produce(plan, options, 'acks0', { acks: 0 })
  // Nobody acknowledged those, so wait for them: what follows must come after them.
  for (const p of plan.sent.keys()) {
    await waitUntil('acks=0 arrived', async () => Number(await offsetOf(consumer, topic, p, -1n)) === plan.end(p))
  }
  await produce(plan, options, 'idempotent', { idempotent: true, acks: -1 })

  for (const p of plan.sent.keys()) {
    check((await offsetOf(consumer, topic, p, -2n)) === 0n, `earliest offset of partition ${p} is not 0`)
    check(Number(await offsetOf(consumer, topic, p, -1n)) === plan.end(p), `latest offset of partition ${p}`)
  }
  plan.done('earliest latest')
  for (const [step, n] of [['by-timestamp', 5], ['by-timestamp-compressed', 33]]) {
    const found = Number(await offsetOf(consumer, topic, 1, BigInt(plan.firstTimestamp + n)))
    check(found === n, `${step}: offset ${found}, but the record of that time has ${n}`)
    plan.done(step)
  }

  for (const [p, got] of await readAll(consumer, topic, plan.sent.keys())) plan.compare(p, got)
  plan.done('consume')

  for (const [protocol, step] of [['classic', 'group'], ['consumer', 'group-848']]) {
    await group(plan, options, admin, protocol)
    plan.done(step)
  }

  await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 10n }] }] })
  plan.compare(0, (await readAll(consumer, topic, [0])).get(0), 10)
  plan.done('delete-records')

  const added = PARTITIONS + 1
  await admin.createPartitions({ topics: [{ name: topic, count: PARTITIONS + 2, assignments: null }] })
  await waitUntil('partitions added', async () => (await partitionCount()) === PARTITIONS + 2)
  await waitUntil('leaders answer', () => leadersAnswer(consumer, topic, PARTITIONS + 2))
  plan.sent.set(added, [])
  await produce(plan, options, 'added', { acks: -1 })
  plan.compare(added, (await readAll(consumer, topic, [added])).get(added))
  plan.done('add-partitions')

  await admin.deleteTopics({ topics: [topic] })
  await waitUntil('topic gone', async () => !(await admin.listTopics()).includes(topic))
  plan.done('delete-topic')
}

async function group(plan, options, admin, protocol) {
  const groupId = `${plan.topic}-${protocol}`
  await checkGroup(plan, {
    join: seen => join(plan, options, groupId, protocol, seen),
    produce: phase => produce(plan, options, phase, { acks: -1 }),
    committed: async () => {
      const [group] = await admin.listConsumerGroupOffsets({ groups: [{ groupId }] })
      const found = group.topics.find(({ name }) => name === plan.topic)
      return new Map((found?.partitions ?? []).map(p => [p.partitionIndex, p.committedOffset]))
    },
    phase: `taken-over-${protocol}`
  })
  check((await admin.listGroups({ types: [protocol] })).has(groupId), 'the group is not listed')
  await admin.deleteGroups({ groups: [groupId] })
}

async function join(plan, options, groupId, protocol, seen) {
  // In the new protocol the broker says how long sessions are.
  const session = protocol === 'classic'
    ? { sessionTimeout: 6000, heartbeatInterval: 1000 }
    : { groupProtocol: 'consumer' }
  const consumer = new Consumer({ ...options, groupId, ...session })
  const stream = await consumer.consume({
    topics: [plan.topic], mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest', autocommit: true
  })
  stream.on('data', message => seen.add(message.partition, message.offset))
  const owns = () => (consumer.assignments ?? []).flatMap(({ partitions }) => partitions).length
  return {
    owns,
    leave: async () => {
      await stream.close()
      await consumer.close()
    }
  }
}

async function produce(plan, options, phase, settings) {
  const producer = new Producer({ ...options, ...settings })
  const first = new Map([...plan.sent.keys()].map(p => [p, plan.end(p)]))
  const messages = plan.phase(phase).map(({ key, value, partition, timestamp }) => (
    { topic: plan.topic, key, value, partition, timestamp: BigInt(timestamp) }
  ))
  const { offsets = [] } = await producer.send({ messages })
  check(phase === 'acks0' || offsets.length === first.size, `producing ${phase}: ${offsets.length} partitions answered`)
  for (const { partition, offset } of phase === 'acks0' ? [] : offsets) {
    check(Number(offset) === first.get(partition),
      `producing ${phase}: partition ${partition} got offset ${offset}, expected ${first.get(partition)}`)
  }
  await producer.close()
  if (phase !== 'added') plan.done(phase)
}

await main('platformatic', run)
