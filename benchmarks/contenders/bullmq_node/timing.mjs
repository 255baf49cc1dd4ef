// Scenarios in which it matters when a job starts.
import { Meter, nowUs, payload, percentiles, sleep } from './case.mjs';
import { completed, fill, openQueue, openWorker } from './library.mjs';
import { Companion, Cue } from './processes.mjs';
import { consume } from './processing.mjs';

const WARM_UP_ADDS = 100;
const SPACE_MS = 1;
const LOAD_TICK_MS = 1;
const RECOVERY_LIMIT_MS = 150_000;

// From add to handler start, between two processes. `rate` 0: idle, adds about 1 ms apart.
export async function latency(testCase) {
  const [meter, producer, times] = [new Meter(testCase), await Companion.start(testCase, 'producer'), []];
  const handler = async (job) => { times.push((nowUs() - job.data.sent) / 1000); };
  const begin = () => producer.say('go');
  await consume(testCase, testCase.count + WARM_UP_ADDS, meter, { handler, begin });
  return meter.result(testCase.count, percentiles(times.slice(WARM_UP_ADDS)), [await producer.finish()]);
}

// The producer of `latency`: awaits each add, or keeps to a rate with adds at once.
export async function produceTimed(testCase) {
  const [queue, cue, count] = [await openQueue(testCase), new Cue(), testCase.count + WARM_UP_ADDS];
  await cue.ready();
  if (testCase.rate) await addAtRate(queue, count, testCase.rate);
  else await addSpaced(queue, count);
  cue.report();
}

async function addSpaced(queue, count) {
  for (let i = 0; i < count; i++) {
    await queue.add('noop', { sent: nowUs() });
    await sleep(SPACE_MS);
  }
}

// Every millisecond the adds that are due, at once; what is late is not skipped.
async function addAtRate(queue, count, rate) {
  const [began, adds] = [nowUs(), []];
  while (adds.length < count) {
    const due = Math.min(count, Math.floor(((nowUs() - began) / 1e6) * rate) + 1);
    while (adds.length < due) adds.push(queue.add('noop', { sent: nowUs() }));
    await sleep(LOAD_TICK_MS);
  }
  await Promise.all(adds);
}

// Jobs that fall due over one second, while nothing else happens; how late each starts.
export async function delayed(testCase) {
  const [queue, meter, times] = [await openQueue(testCase), new Meter(testCase), []];
  const lead = 1 + testCase.count / testCase.rate;
  const worker = await openWorker(testCase, async (job) => { times.push((nowUs() - job.data.due) / 1000); });
  const done = completed(worker, testCase.count);
  const base = nowUs() + lead * 1e6;
  worker.run();
  await meter.start();
  for (let i = 0; i < testCase.count; i++) {
    const due = base + (i / testCase.count) * 1e6;
    await queue.add('noop', { due }, { delay: Math.round((due - nowUs()) / 1000) });
  }
  if (nowUs() > base) throw new Error(`adding took longer than ${lead.toFixed(1)} s; lower the count`);
  await done;
  await meter.stop();
  await worker.close(true);
  return meter.result(testCase.count, percentiles(times));
}

// A queue-wide limit of `rate` starts a second: is it kept, and is it used?
export async function rate_limit(testCase) {
  const [queue, meter, starts] = [await openQueue(testCase), new Meter(testCase), []];
  await fill(queue, testCase.count, testCase.count);
  const handler = async () => { starts.push(nowUs()); };
  await consume(testCase, testCase.count, meter, { handler, rate: testCase.rate });
  const needed = Math.floor((testCase.count - 1) / testCase.rate);
  return meter.result(testCase.count, {
    most_in_a_second: mostInASecond(starts),
    limit: testCase.rate,
    of_the_possible: needed / meter.seconds,
  });
}

function mostInASecond(starts) {
  const ordered = Float64Array.from(starts).sort();
  let [most, first] = [0, 0];
  for (let last = 0; last < ordered.length; last++) {
    while (ordered[last] - ordered[first] >= 1e6) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

// A worker is killed in the middle of its jobs: when has another one run them all?
export async function recovery(testCase) {
  const [queue, meter, victim] = [await openQueue(testCase), new Meter(testCase), await Companion.start(testCase, 'victim')];
  for (let i = 0; i < testCase.concurrency; i++) await queue.add('noop', payload(i));
  victim.say('go');
  await victim.expect('started');
  await victim.kill();
  await meter.start();
  let ran = 0;
  const worker = await openWorker(testCase, async () => { ran++; });
  const done = completed(worker, testCase.concurrency).then(() => true);
  worker.run();
  const all = await Promise.race([done, sleep(RECOVERY_LIMIT_MS).then(() => false)]);
  await meter.stop();
  await worker.close(true);
  if (!all) throw new Error(`only ${ran} of ${testCase.concurrency} jobs were run again in ${RECOVERY_LIMIT_MS / 1000} s`);
  return meter.result(testCase.concurrency, { recovered: ran, of: testCase.concurrency, seconds: meter.seconds });
}

export async function beKilled(testCase) {
  const cue = new Cue();
  let begun = 0;
  const worker = await openWorker(testCase, async () => {
    if (++begun === testCase.concurrency) cue.say('started');
    await sleep(3_600_000);
  });
  await cue.ready();
  await worker.run();
}
