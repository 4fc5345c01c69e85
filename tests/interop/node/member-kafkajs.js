// A member of a group that is killed, of kafkajs: reads numbers and writes each to a file.
//   node member-kafkajs.js HOST:PORT TOPIC GROUP classic FILE

import kafkajs from 'kafkajs'
import { appendFileSync } from 'node:fs'

const { Kafka, logLevel } = kafkajs
const [bootstrap, topic, groupId, protocol, file] = process.argv.slice(2)
if (protocol !== 'classic') throw new Error('it knows no other protocol')

const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000 })
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await consumer.run({ eachMessage: async ({ message }) => appendFileSync(file, `${message.value}\n`) })
