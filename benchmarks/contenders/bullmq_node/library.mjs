// BullMQ as its documentation sets it up for throughput: addBulk, high concurrency, few finished jobs kept.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { payload } from './case.mjs';

// The packages live in the folder that the benchmark's installer made, not next to this file.
const require = createRequire(path.join(process.env.BENCH_NODE_DIR, 'package.json'));
const { Queue, Worker } = require('bullmq');
export const { Redis } = require('ioredis');

const versionOf = (name) => `${name} ${require(`${name}/package.json`).version}`;
export const VERSION = `${versionOf('bullmq')}, ${versionOf('ioredis')}, Node ${process.versions.node}`;
const NAME = 'bench';
const SANDBOXED = fileURLToPath(new URL('./sandboxed.cjs', import.meta.url));
// Given to the worker, not to every job: that keeps BullMQ's records small.
const KEEP = { removeOnComplete: { count: 1000 }, removeOnFail: { count: 10000 } };

// ioredis with its defaults; BullMQ asks for maxRetriesPerRequest null in workers. Its maintainer does not advise
// enableAutoPipelining.
const connection = (testCase) => ({ host: testCase.host, port: testCase.port, maxRetriesPerRequest: null });

export async function openQueue(testCase, name = NAME) {
  const queue = new Queue(name, { connection: connection(testCase) });
  await queue.waitUntilReady();
  return queue;
}

export const jobsOf = (payloads) => payloads.map((data) => ({ name: 'noop', data }));

// Adds the first `count` of as many copies of the chunk as that takes.
export async function addChunks(queue, count, chunk) {
  for (let left = count; left > 0; left -= chunk.length) {
    await queue.addBulk(left < chunk.length ? chunk.slice(0, left) : chunk);
  }
}

export async function fill(queue, count, batch = 1000) {
  await addChunks(queue, count, jobsOf(Array.from({ length: batch }, (_, i) => payload(i))));
}

// What is waiting, delayed or running; throws when a job failed.
export async function pending(queue) {
  const { failed, ...others } = await queue.getJobCounts('wait', 'prioritized', 'delayed', 'active', 'failed');
  if (failed) throw new Error(`${failed} jobs failed`);
  return Object.values(others).reduce((sum, count) => sum + count, 0);
}

// A worker that is connected but does not run yet. `threads`: sandboxed processors in worker threads.
export async function openWorker(testCase, handler, { name = NAME, threads = false, rate = 0 } = {}) {
  const options = { connection: connection(testCase), concurrency: testCase.concurrency, autorun: false, ...KEEP };
  if (rate) options.limiter = { max: rate, duration: 1000 };
  if (threads) options.useWorkerThreads = true;
  const worker = new Worker(name, threads ? SANDBOXED : handler, options);
  worker.on('error', (error) => { throw error; });
  worker.on('failed', (_job, error) => { throw error; });
  await worker.waitUntilReady();
  return worker;
}

// Resolves when the worker has settled `count` jobs: it says "completed" once the server has it.
export function completed(worker, count) {
  let left = count;
  return new Promise((resolve) => {
    worker.on('completed', () => { if (--left === 0) resolve(); });
  });
}
