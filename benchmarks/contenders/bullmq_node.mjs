// BullMQ for Node, set up for throughput as its documentation advises: addBulk, high concurrency, no retries in the way.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

// The packages live in the folder that the benchmark's installer made, not next to this file.
const require = createRequire(path.join(process.env.BENCH_NODE_DIR, 'package.json'));
const { Queue, Worker } = require('bullmq');
const { Redis } = require('ioredis');

const LABEL = 'BullMQ for Node';
const VERSION = `bullmq ${require('bullmq/package.json').version}, ioredis ${require('ioredis/package.json').version}, Node ${process.versions.node}`;
const NOTES =
  'At-least-once with locks, events on, removeOnComplete 1000; a resent add stores the job twice. One script call per job and step, whatever the batch.';
const NAME = 'bench';
const TASKS = 1000;
const WARM_UP_ADDS = 100;
const WARM_UP_JOBS = 8000;
// Given to the worker, not to every job: that keeps BullMQ's records small.
const KEEP = { removeOnComplete: { count: 1000 }, removeOnFail: { count: 10000 } };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nowUs = () => Number(process.hrtime.bigint()) / 1000; // the clock all processes of a machine share

function payload(i) {
  const n = i % 100000;
  return { to: `user${String(n).padStart(6, '0')}@mail.example.com`, uid: 100000 + n };
}

class Meter {
  constructor(testCase) {
    this.redis = new Redis({ host: testCase.host, port: testCase.port });
    Object.assign(this, { seconds: 0, redisS: 0, clientS: 0, commands: 0, reads: 0 });
  }
  async info(section) {
    const text = await this.redis.info(section);
    return Object.fromEntries(text.split('\r\n').filter((l) => l.includes(':')).map((l) => l.split(':', 2)));
  }
  async server() {
    const [cpu, stats] = [await this.info('cpu'), await this.info('stats')];
    return {
      cpu: Number(cpu.used_cpu_user) + Number(cpu.used_cpu_sys),
      commands: Number(stats.total_commands_processed),
      reads: Number(stats.total_reads_processed ?? 0),
    };
  }
  async start() {
    this.before = await this.server();
    this.cpu = process.cpuUsage();
    this.wall = process.hrtime.bigint();
  }
  async stop() {
    this.seconds += Number(process.hrtime.bigint() - this.wall) / 1e9;
    const cpu = process.cpuUsage(this.cpu);
    this.clientS += (cpu.user + cpu.system) / 1e6;
    const after = await this.server();
    this.redisS += after.cpu - this.before.cpu;
    this.commands += after.commands - this.before.commands;
    this.reads += after.reads - this.before.reads;
  }
  async memory() {
    const info = await this.info('memory');
    return Number(info.used_memory) - Number(info.mem_clients_normal);
  }
  result(jobs, extra = {}, others = []) {
    const { seconds, redisS, clientS, commands, reads } = this;
    return { jobs, seconds, redis_s: redisS, client_s: [clientS, ...others], commands, reads, extra };
  }
}

const connection = (testCase) => ({ host: testCase.host, port: testCase.port, maxRetriesPerRequest: null });

async function openQueue(testCase, name = NAME) {
  const queue = new Queue(name, { connection: connection(testCase) });
  await queue.waitUntilReady();
  return queue;
}

async function fill(queue, count, batch) {
  const chunk = Array.from({ length: batch }, (_, i) => ({ name: 'noop', data: payload(i) }));
  for (let left = count; left > 0; left -= batch) {
    await queue.addBulk(left < batch ? chunk.slice(0, left) : chunk);
  }
}

function percentiles(ms) {
  const ordered = [...ms].sort((a, b) => a - b);
  const at = ordered.length - 1;
  return { p50_ms: ordered[Math.floor(at / 2)], p99_ms: ordered[Math.floor(at * 0.99)], max_ms: ordered[at] };
}

// Resolves with the worker once `count` jobs are settled; the meter runs from before the first fetch.
async function consume(testCase, count, concurrency, meter, handler, begin = async () => {}) {
  const worker = new Worker(NAME, handler, { connection: connection(testCase), concurrency, autorun: false, ...KEEP });
  worker.on('error', (error) => { throw error; });
  await worker.waitUntilReady();
  let left = count;
  const done = new Promise((resolve) => worker.on('completed', () => { if (--left === 0) resolve(); }));
  await meter.start();
  worker.run();
  await begin();
  await done;
  await meter.stop();
  await worker.close(true);
}

const noop = async () => {};

// A service has been running for a while: let V8 compile the paths on another queue, unmeasured.
async function warmUp(testCase) {
  const queue = await openQueue(testCase, 'warm-up');
  await fill(queue, WARM_UP_JOBS / 2, 1000);
  await Promise.all(Array.from({ length: WARM_UP_JOBS / 2 }, (_, i) => queue.add('noop', payload(i))));
  if (testCase.role !== 'producer') {
    const worker = new Worker('warm-up', noop, { connection: connection(testCase), concurrency: 100, ...KEEP });
    let left = WARM_UP_JOBS;
    await new Promise((resolve) => worker.on('completed', () => { if (--left === 0) resolve(); }));
    await worker.close();
  }
  await queue.obliterate({ force: true });
  await queue.close();
}

async function add_bulk(testCase) {
  const queue = await openQueue(testCase);
  const meter = new Meter(testCase);
  const { concurrency: callers, batch } = testCase;
  const share = Math.floor(testCase.count / callers);
  await meter.start();
  await Promise.all(Array.from({ length: callers }, () => fill(queue, share, batch)));
  await meter.stop();
  return meter.result(share * callers);
}

async function add_concurrent(testCase) {
  const queue = await openQueue(testCase);
  const meter = new Meter(testCase);
  const each = Math.floor(testCase.count / TASKS);
  const adder = async (first) => {
    for (let i = first; i < first + each; i++) await queue.add('noop', payload(i));
  };
  await meter.start();
  await Promise.all(Array.from({ length: TASKS }, (_, n) => adder(n * each)));
  await meter.stop();
  return meter.result(each * TASKS);
}

async function add_sequential(testCase) {
  const queue = await openQueue(testCase);
  const client = new Redis(connection(testCase));
  const meter = new Meter(testCase);
  const turn = Math.floor(testCase.count / 10);
  const times = [];
  let pinged = 0;
  for (let part = 0; part < 10; part++) {
    let began = nowUs();
    for (let i = 0; i < turn; i++) await client.ping();
    pinged += nowUs() - began;
    await meter.start();
    for (let i = 0; i < turn; i++) {
      began = nowUs();
      await queue.add('noop', payload(part * turn + i));
      times.push((nowUs() - began) / 1000);
    }
    await meter.stop();
  }
  const jobs = turn * 10;
  const [addUs, pingUs] = [(meter.seconds / jobs) * 1e6, pinged / jobs];
  return meter.result(jobs, { add_us: addUs, ping_us: pingUs, times_ping: addUs / pingUs, ...percentiles(times) });
}

async function process_(testCase) {
  await fill(await openQueue(testCase), testCase.count, 1000);
  const meter = new Meter(testCase);
  await consume(testCase, testCase.count, testCase.concurrency, meter, noop);
  return meter.result(testCase.count);
}

async function redis_cpu(testCase) {
  const queue = await openQueue(testCase);
  const [adding, processing] = [new Meter(testCase), new Meter(testCase)];
  await adding.start();
  await fill(queue, testCase.count, testCase.batch);
  await adding.stop();
  await consume(testCase, testCase.count, testCase.batch, processing, noop);
  const us = (meter) => (meter.redisS / testCase.count) * 1e6;
  const total = new Meter(testCase);
  for (const key of ['seconds', 'redisS', 'clientS', 'commands', 'reads']) total[key] = adding[key] + processing[key];
  return total.result(testCase.count, {
    add_redis_us: us(adding),
    process_redis_us: us(processing),
    jobs_per_read: (2 * testCase.count) / total.reads,
  });
}

async function memory(testCase) {
  const queue = await openQueue(testCase);
  const meter = new Meter(testCase);
  await fill(queue, 1, 1);
  const before = await meter.memory();
  await fill(queue, testCase.count, 1000);
  const each = ((await meter.memory()) - before) / testCase.count;
  const stored = JSON.stringify(payload(0)).length;
  return meter.result(testCase.count, { bytes_per_job: each, payload_bytes: stored, overhead_bytes: each - stored });
}

// The same script in a second process, which adds when told to.
class Producer {
  constructor(testCase) {
    const order = JSON.stringify({ ...testCase, role: 'producer' });
    this.child = spawn(process.execPath, [fileURLToPath(import.meta.url), order], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.text = '';
    this.ready = new Promise((resolve) => {
      this.child.stdout.on('data', (data) => {
        this.text += data;
        if (this.text.startsWith('ready\n')) resolve();
      });
    });
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
  }
  go() {
    this.child.stdin.end('go\n');
  }
  async finish() {
    if ((await this.ended) !== 0) throw new Error('the producer failed');
    return JSON.parse(this.text.slice('ready\n'.length)).cpu;
  }
}

async function produce_and_process(testCase) {
  const [meter, producer] = [new Meter(testCase), new Producer(testCase)];
  await producer.ready;
  await consume(testCase, testCase.count, testCase.concurrency, meter, noop, async () => producer.go());
  return meter.result(testCase.count, {}, [await producer.finish()]);
}

async function latency_idle(testCase) {
  const [meter, producer] = [new Meter(testCase), new Producer(testCase)];
  await producer.ready;
  const times = [];
  const handler = async (job) => { times.push((nowUs() - job.data.sent) / 1000); };
  await consume(testCase, testCase.count + WARM_UP_ADDS, 1, meter, handler, async () => producer.go());
  return meter.result(testCase.count, percentiles(times.slice(WARM_UP_ADDS)), [await producer.finish()]);
}

async function produceSpaced(queue, testCase) {
  for (let i = 0; i < testCase.count + WARM_UP_ADDS; i++) {
    await queue.add('noop', { sent: nowUs() });
    await sleep(1);
  }
}

async function produce(testCase) {
  const queue = await openQueue(testCase);
  process.stdout.write('ready\n');
  await new Promise((resolve) => process.stdin.once('data', resolve));
  const before = process.cpuUsage();
  if (testCase.scenario === 'latency_idle') await produceSpaced(queue, testCase);
  else await fill(queue, testCase.count, testCase.batch);
  const cpu = process.cpuUsage(before);
  return { cpu: (cpu.user + cpu.system) / 1e6 };
}

const SCENARIOS = {
  add_bulk, add_concurrent, add_sequential, process: process_, produce_and_process, redis_cpu, memory, latency_idle,
};

async function main(order) {
  if (order === 'describe') return { label: LABEL, version: VERSION, notes: NOTES, scenarios: Object.keys(SCENARIOS) };
  const testCase = JSON.parse(order);
  await warmUp(testCase);
  return testCase.role === 'producer' ? produce(testCase) : SCENARIOS[testCase.scenario](testCase);
}

const answer = await main(process.argv[2]);
process.stdout.write(JSON.stringify(answer) + '\n', () => process.exit(0));
