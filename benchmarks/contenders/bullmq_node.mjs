// BullMQ for Node as a program: `describe`, or a case in JSON; it answers with one JSON line.
//
// Its scenarios, in bullmq_node/, do what those of benchmarks/harness do, in the same order and under the same names.
import * as adding from './bullmq_node/adding.mjs';
import { payload } from './bullmq_node/case.mjs';
import { VERSION, completed, fill, openQueue, openWorker } from './bullmq_node/library.mjs';
import * as processing from './bullmq_node/processing.mjs';
import * as resources from './bullmq_node/resources.mjs';
import * as timing from './bullmq_node/timing.mjs';

const LABEL = 'BullMQ for Node';
const NOTES =
  'At-least-once with locks, events on, removeOnComplete 1000, ioredis; a resent add stores the job twice. ' +
  'One script call per job and step, whatever the batch. Threads are its sandboxed processors in worker threads.';
// V8 compiles what has run often; the memory of an idle worker should not be that of a busy one.
const [WARM_UP_JOBS, WARM_UP_JOBS_IDLE] = [8000, 300];

const SCENARIOS = {
  add_sequential: adding.add_sequential,
  add_concurrent: adding.add_concurrent,
  add_bulk: adding.add_bulk,
  process: processing.process,
  process_threads: processing.process_threads,
  process_two: processing.process_two,
  produce_and_process: processing.produce_and_process,
  wait: processing.wait,
  compute: processing.compute,
  payload: processing.payloads,
  priorities: processing.priorities,
  delayed: timing.delayed,
  rate_limit: timing.rate_limit,
  latency: timing.latency,
  recovery: timing.recovery,
  memory: resources.memory,
  worker_idle: resources.worker_idle,
  redis_cpu: resources.redis_cpu,
  redis_cpu_paced: resources.redis_cpu_paced,
  growth: resources.growth,
};
const COMPANIONS = {
  'produce_and_process/producer': processing.produce,
  'latency/producer': timing.produceTimed,
  'process_two/worker': processing.workBeside,
  'recovery/victim': timing.beKilled,
};
const DEFAULTS = { host: '127.0.0.1', concurrency: 1, batch: 1000, size: 0, rate: 0, wait_us: 0, role: 'main' };

// A service has been running for a while: do every path on another queue, unmeasured.
async function warmUp(testCase) {
  if (testCase.role === 'victim') return;
  const queue = await openQueue(testCase, 'warm-up');
  const jobs = testCase.scenario === 'worker_idle' ? WARM_UP_JOBS_IDLE : WARM_UP_JOBS;
  await fill(queue, jobs / 2);
  await Promise.all(Array.from({ length: jobs / 2 }, (_, i) => queue.add('noop', payload(i))));
  if (testCase.role !== 'producer') {
    const worker = await openWorker({ ...testCase, concurrency: 100 }, processing.noop, { name: 'warm-up' });
    const done = completed(worker, jobs);
    worker.run();
    await done;
    await worker.close();
  }
  await queue.obliterate({ force: true });
  await queue.close();
}

async function main(order) {
  if (order === 'describe') return { label: LABEL, version: VERSION, notes: NOTES, scenarios: Object.keys(SCENARIOS) };
  const testCase = { ...DEFAULTS, ...JSON.parse(order) };
  const { scenario, role } = testCase;
  await warmUp(testCase);
  if (role === 'main') return SCENARIOS[scenario](testCase);
  await COMPANIONS[`${scenario}/${role}`](testCase);
}

const answer = await main(process.argv[2]);
// Not before it is written; the connections that are still open end with the process.
process.stdout.write(answer === undefined ? '' : `${JSON.stringify(answer)}\n`, () => process.exit(0));
