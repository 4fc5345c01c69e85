// A member of a group that is killed, of @platformatic/kafka: reads numbers and writes each to a file.
//   node member-platformatic.js HOST:PORT TOPIC GROUP classic|consumer FILE

import { Consumer, MessagesStreamModes } from '@platformatic/kafka'
import { appendFileSync } from 'node:fs'

const [bootstrap, topic, groupId, protocol, file] = process.argv.slice(2)
// In the new protocol the broker says how long sessions are.
const session = protocol === 'classic'
  ? { sessionTimeout: 6000, heartbeatInterval: 1000 }
  : { groupProtocol: 'consumer' }

// It goes on trying while no broker is there; by default it gives up after three times.
const consumer = new Consumer({ clientId: 'member', bootstrapBrokers: [bootstrap], groupId, retries: true, ...session })
const stream = await consumer.consume({
  topics: [topic], mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest', autocommit: true
})
for await (const message of stream) appendFileSync(file, `${message.value}\n`)
