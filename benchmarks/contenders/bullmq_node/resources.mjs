// Scenarios that count bytes, CPU and commands.
import { Meter, both, nowUs, payload, residentMb, sleep } from './case.mjs';
import { completed, fill, openQueue, openWorker } from './library.mjs';
import { consume, noop } from './processing.mjs';

const [SETTLING_MS, OBSERVED_MS] = [3000, 5000];
const MOST_WAITING = 1_000_000;

// Server CPU of the two halves of a job's life; jobs are added, and handlers run, `batch` at a time.
export async function redis_cpu(testCase) {
  const [queue, adding, processing] = [await openQueue(testCase), new Meter(testCase), new Meter(testCase)];
  await adding.start();
  await fill(queue, testCase.count, testCase.batch);
  await adding.stop();
  await consume(testCase, testCase.count, processing);
  const reads = adding.reads + processing.reads;
  return both(adding, processing, testCase.count, {
    add_redis_us: (adding.redisS / testCase.count) * 1e6,
    process_redis_us: (processing.redisS / testCase.count) * 1e6,
    jobs_per_read: reads ? (2 * testCase.count) / reads : 0,
  });
}

// Server CPU of a job when `rate` come a second, one by one.
export async function redis_cpu_paced(testCase) {
  const [queue, meter] = [await openQueue(testCase), new Meter(testCase)];
  const worker = await openWorker(testCase, noop);
  const done = completed(worker, testCase.count);
  worker.run();
  await meter.start();
  const began = nowUs();
  for (let i = 0; i < testCase.count; i++) {
    const early = began + (i / testCase.rate) * 1e6 - nowUs();
    if (early > 0) await sleep(early / 1000);
    await queue.add('noop', payload(i));
  }
  await done;
  await meter.stop();
  await worker.close(true);
  return meter.result(testCase.count);
}

// Bytes per waiting job, and how many of them are not the data as it is stored.
export async function memory(testCase) {
  const [queue, meter] = [await openQueue(testCase), new Meter(testCase)];
  await fill(queue, 1, 1);
  const before = await meter.memory();
  await fill(queue, testCase.count);
  const each = ((await meter.memory()) - before) / testCase.count;
  const stored = JSON.stringify(payload(0)).length;
  return meter.result(testCase.count, { bytes_per_job: each, payload_bytes: stored, overhead_bytes: each - stored });
}

// A worker without work: resident memory of its process, commands and server CPU a second.
export async function worker_idle(testCase) {
  const meter = new Meter(testCase);
  const worker = await openWorker(testCase, noop);
  worker.run();
  await sleep(SETTLING_MS);
  await meter.start();
  await sleep(OBSERVED_MS);
  await meter.stop();
  const rss = residentMb();
  await worker.close(true);
  // The second reading of the meter is two commands of its own.
  const aSecond = (seen) => Math.max(0, seen - 2) / (OBSERVED_MS / 1000);
  return meter.result(1, {
    rss_mb: rss,
    requests_per_s: aSecond(meter.reads),
    commands_per_s: aSecond(meter.commands),
  });
}

// With `count` jobs waiting: what `rate` more cost to add, and as many to process; the longest call.
export async function growth(testCase) {
  if (testCase.count > MOST_WAITING) throw new Error(`${testCase.count} jobs: takes more than four minutes to fill`);
  const [queue, adding, processing] = [await openQueue(testCase), new Meter(testCase), new Meter(testCase)];
  await adding.noteSlowCalls();
  const before = await adding.memory();
  await fill(queue, testCase.count);
  const each = ((await adding.memory()) - before) / testCase.count;
  const jobs = testCase.rate;
  await adding.start();
  await fill(queue, jobs);
  await adding.stop();
  const done = await processSome(testCase, jobs, processing);
  const [add, process] = [(adding.redisS / jobs) * 1e6, (processing.redisS / done) * 1e6];
  return both(adding, processing, jobs, {
    add_redis_us: add,
    process_redis_us: process,
    slowest_call_ms: await adding.slowestCallMs(),
    bytes_per_job: each,
    job_redis_us: add + process,
  });
}

// How many were settled when the clock stopped: the worker goes on meanwhile.
async function processSome(testCase, jobs, meter) {
  const worker = await openWorker(testCase, noop);
  let settled = 0;
  worker.on('completed', () => settled++);
  const done = completed(worker, jobs);
  await meter.start();
  worker.run();
  await done;
  await meter.stop();
  const seen = settled;
  await worker.close(true);
  return seen;
}
