// Scenarios of workers at full load.
import { createHash } from 'node:crypto';

import { Meter, both, payload, sizedPayload, sleep } from './case.mjs';
import { addChunks, completed, fill, jobsOf, openQueue, openWorker, pending } from './library.mjs';
import { Companion, Cue } from './processes.mjs';

const CHUNK_BYTES = 4_000_000;
const HASHED = Buffer.alloc(65536, 'x');
// Long enough for a worker thread to start while the others are held.
const HOLD_MS = 500;

export const noop = async () => {};

// Runs a worker until `count` jobs are settled, with the meter on from its first fetch.
export async function consume(testCase, count, meter, { handler = noop, rate = 0, begin = () => {} } = {}) {
  let ran = 0;
  const counted = (job) => {
    ran++;
    return handler(job);
  };
  const worker = await openWorker(testCase, counted, { rate });
  const done = completed(worker, count);
  await meter.start();
  worker.run();
  begin();
  await done;
  await meter.stop();
  await worker.close(true);
  if (ran !== count) throw new Error(`${ran - count} jobs ran more than once`);
}

async function processed(testCase, handler) {
  await fill(await openQueue(testCase), testCase.count);
  const meter = new Meter(testCase);
  await consume(testCase, testCase.count, meter, { handler });
  return meter.result(testCase.count);
}

const process_ = (testCase) => processed(testCase, noop);
export { process_ as process };

export async function wait(testCase) {
  const result = await processed(testCase, () => sleep(testCase.wait_us / 1000));
  const best = (testCase.count / testCase.concurrency) * (testCase.wait_us / 1e6);
  result.extra.of_the_possible = best / result.seconds;
  return result;
}

// On the loop: on the one core that a contender has, sandboxed threads would only add messages.
export function compute(testCase) {
  return processed(testCase, async () => { createHash('sha256').update(HASHED).digest(); });
}

// Sandboxed processors in worker threads. The threads are there before the clock runs: starting one takes longer
// than a thousand jobs.
export async function process_threads(testCase) {
  const [queue, meter] = [await openQueue(testCase), new Meter(testCase)];
  const worker = await openWorker(testCase, noop, { threads: true });
  const held = completed(worker, testCase.concurrency);
  await queue.addBulk(jobsOf(Array.from({ length: testCase.concurrency }, () => ({ hold_ms: HOLD_MS }))));
  worker.run();
  await held;
  await worker.pause();
  await fill(queue, testCase.count);
  const done = completed(worker, testCase.count);
  await meter.start();
  worker.resume();
  await done;
  await meter.stop();
  await worker.close(true);
  return meter.result(testCase.count);
}

// Two worker processes share the jobs.
export async function process_two(testCase) {
  const [queue, meter, other] = [await openQueue(testCase), new Meter(testCase), await Companion.start(testCase, 'worker')];
  await fill(queue, testCase.count);
  const worker = await openWorker(testCase, noop);
  await meter.start();
  worker.run();
  other.say('go');
  while (await pending(queue)) await sleep(1);
  await meter.stop();
  other.say('stop');
  const cpu = await other.finish();
  await worker.close(true);
  return meter.result(testCase.count, {}, [cpu]);
}

export async function workBeside(testCase) {
  const cue = new Cue();
  const worker = await openWorker(testCase, noop);
  await cue.ready();
  worker.run();
  await cue.told();
  cue.report();
  await worker.close(true);
}

export async function produce_and_process(testCase) {
  const [meter, producer] = [new Meter(testCase), await Companion.start(testCase, 'producer')];
  await consume(testCase, testCase.count, meter, { begin: () => producer.say('go') });
  return meter.result(testCase.count, {}, [await producer.finish()]);
}

export async function produce(testCase) {
  const [queue, cue] = [await openQueue(testCase), new Cue()];
  await cue.ready();
  await fill(queue, testCase.count, testCase.batch);
  cue.report();
}

// Jobs of one size, added in bulk and then processed.
export function payloads(testCase) {
  const batch = Math.max(1, Math.min(testCase.batch, Math.floor(CHUNK_BYTES / testCase.size)));
  return addedAndProcessed(testCase, jobsOf(Array.from({ length: batch }, (_, i) => sizedPayload(i, testCase.size))));
}

// Jobs of ten priorities, mixed.
export function priorities(testCase) {
  const job = (i) => ({ name: 'noop', data: payload(i), opts: { priority: 1 + ((i * 7) % 10) } });
  return addedAndProcessed(testCase, Array.from({ length: testCase.batch }, (_, i) => job(i)));
}

async function addedAndProcessed(testCase, chunk) {
  const [queue, adding, processing] = [await openQueue(testCase), new Meter(testCase), new Meter(testCase)];
  await adding.start();
  await addChunks(queue, testCase.count, chunk);
  await adding.stop();
  await consume(testCase, testCase.count, processing);
  const rates = {
    added_per_s: testCase.count / adding.seconds,
    processed_per_s: testCase.count / processing.seconds,
  };
  return both(adding, processing, testCase.count, rates);
}
