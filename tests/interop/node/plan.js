// What both Node programs produce and expect back. See ../README.md for the plan all clients share.

export const PARTITIONS = 4
export const SECONDS = 15
const SIZES = [1, 17, 100, 1_000, 5_000, 40_000, 200_000]
const COUNT = 14
const NOISE = makeNoise(256 * 1024)

function makeNoise(length) {
  const out = Buffer.alloc(length)
  let x = 12345
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) | 0
    out[i] = x >>> 16
  }
  return out
}

function record(client, phase, partition, seq) {
  const key = Buffer.from(`${client}|${phase}|${partition}|${seq}|`)
  const size = SIZES[seq % SIZES.length]
  const body = seq % 2 ? NOISE.subarray(seq, seq + size) : Buffer.alloc(size, key)
  return { key, value: Buffer.concat([key, body]).subarray(0, size) }
}

export class Plan {
  constructor(client, topic) {
    this.client = client
    this.topic = topic
    this.steps = []
    // Every record sent to each partition; its index is the offset it must get.
    this.sent = new Map(Array.from({ length: PARTITIONS }, (_, p) => [p, []]))
    this.firstTimestamp = Date.now() - 60_000
  }

  // The records of a phase, partitions taking turns.
  phase(name) {
    const records = []
    for (let seq = 0; seq < COUNT; seq++) {
      for (const [partition, sent] of this.sent) {
        const made = record(this.client, name, partition, seq)
        const offset = sent.length
        sent.push(made)
        records.push({ ...made, partition, offset, timestamp: this.firstTimestamp + offset })
      }
    }
    return records
  }

  end(partition) {
    return this.sent.get(partition).length
  }

  // got: {offset, key, value} in the order read; all of the partition from `start` must be there, once.
  compare(partition, got, start = 0) {
    const sent = this.sent.get(partition)
    got.forEach(({ offset, key, value }, i) => {
      const want = start + i
      check(offset === want, `partition ${partition}: read offset ${offset} where ${want} belongs`)
      check(want < sent.length, `partition ${partition}: offset ${want} was never sent, key ${key}`)
      check(
        key.equals(sent[want].key) && value.equals(sent[want].value),
        `partition ${partition} offset ${want}: read key ${key}, sent ${sent[want].key}; they differ`
      )
    })
    check(start + got.length === sent.length,
      `partition ${partition}: read ${got.length} records from offset ${start}, ${sent.length - start} were sent`)
  }

  done(step) {
    this.steps.push(step)
  }
}

export function check(holds, message) {
  if (!holds) throw new Error(message)
}

// Some changes reach a client's view a moment later; a missing one must still fail in bounded time.
export async function waitUntil(what, condition) {
  const deadline = Date.now() + SECONDS * 1000
  while (!(await condition())) {
    check(Date.now() < deadline, `not so after ${SECONDS} s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

// Runs run(plan, bootstrap) as a program: arguments HOST:PORT TOPIC, one PASS or FAIL line, an exit code.
export async function main(client, run) {
  const [bootstrap, topic] = process.argv.slice(2)
  const plan = new Plan(client, topic)
  try {
    await run(plan, bootstrap)
  } catch (error) {
    console.error(error)
    console.log(`FAIL ${client} after [${plan.steps.join(' ')}]: ${error}`)
    process.exit(1)
  }
  console.log(`PASS ${client} ${plan.steps.join(' ')}`)
  process.exit(0)
}
