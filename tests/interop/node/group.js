// What both Node programs check of groups: how they come by members differs, what must hold doesn't.

import { check, waitUntil } from './plan.js'

// The offsets read of each partition; a rebalance may have records read twice.
export class Seen {
  constructor(plan) {
    this.plan = plan
    this.offsets = new Map([...plan.sent.keys()].map(p => [p, new Set()]))
  }

  add(partition, offset) {
    this.offsets.get(partition).add(Number(offset))
  }

  all() {
    return [...this.offsets].every(([p, offsets]) => offsets.size === this.plan.end(p))
  }
}

// Two members share the topic; when one has left, the other has it all, and all is committed.
// join(seen) gives a member with owns() and leave(); committed() gives a map of partition to offset.
// phase is the name of what is produced when one has left.
export async function checkGroup(plan, { join, produce, committed, phase = 'taken-over' }) {
  const seen = new Seen(plan)
  const members = await Promise.all([join(seen), join(seen)])
  const [first, second] = members
  await waitUntil('two members share and have all', () => (
    seen.all() && members.every(member => member.owns() === 2)
  ))
  await second.leave()
  await produce(phase)
  await waitUntil('the one that is left has all', () => seen.all() && first.owns() === 4)
  await waitUntil('all is committed', async () => {
    const offsets = await committed()
    return [...plan.sent.keys()].every(p => Number(offsets.get(p)) === plan.end(p))
  })
  await first.leave()
  check(seen.all(), 'something was forgotten')
}
