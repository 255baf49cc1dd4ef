// What is asked and what is answered: the Node side of benchmarks/harness/case.py and meter.py.
import { readFileSync } from 'node:fs';

import { Redis } from './library.mjs';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// The clock that all processes of a machine share.
export const nowUs = () => Number(process.hrtime.bigint()) / 1000;

export function payload(i) {
  const n = i % 100000;
  return { to: `user${String(n).padStart(6, '0')}@mail.example.com`, uid: 100000 + n };
}

export function sizedPayload(i, size) {
  const missing = size - 49;
  if (missing <= 0) return payload(i);
  const text = i.toString(16).padStart(8, '0');
  return { ...payload(i), body: text.repeat(Math.floor(missing / 8) + 1).slice(0, missing) };
}

export function percentiles(ms) {
  const ordered = Float64Array.from(ms).sort();
  const at = ordered.length - 1;
  return {
    p50_ms: ordered[Math.floor(at / 2)],
    p99_ms: ordered[Math.floor(at * 0.99)],
    p999_ms: ordered[Math.floor(at * 0.999)],
    max_ms: ordered[at],
  };
}

export function residentMb() {
  const line = readFileSync('/proc/self/status', 'utf8').split('\n').find((text) => text.startsWith('VmRSS:'));
  return Number(line.split(/\s+/)[1]) / 1024;
}

// Wall time, CPU of this process and CPU of the server between start and stop; it may be started again.
export class Meter {
  constructor(testCase) {
    this.redis = new Redis({ host: testCase.host, port: testCase.port });
    Object.assign(this, { seconds: 0, redisS: 0, clientS: 0, commands: 0, reads: 0 });
  }
  async start() {
    this.before = await this.#server();
    this.cpu = process.cpuUsage();
    this.wall = nowUs();
  }
  async stop() {
    this.seconds += (nowUs() - this.wall) / 1e6;
    const cpu = process.cpuUsage(this.cpu);
    this.clientS += (cpu.user + cpu.system) / 1e6;
    const after = await this.#server();
    this.redisS += after.cpu - this.before.cpu;
    this.commands += after.commands - this.before.commands;
    this.reads += after.reads - this.before.reads;
  }
  // Bytes the server uses for data, without the buffers of its clients.
  async memory() {
    const info = await this.#info('memory');
    return Number(info.used_memory) - Number(info.mem_clients_normal);
  }
  async noteSlowCalls(fromUs = 500) {
    await this.redis.config('SET', 'slowlog-log-slower-than', fromUs);
    await this.redis.config('SET', 'slowlog-max-len', 1000);
    await this.redis.slowlog('RESET');
  }
  async slowestCallMs() {
    const entries = await this.redis.slowlog('GET', 1000);
    return Math.max(0, ...entries.map((entry) => Number(entry[2]))) / 1000;
  }
  result(jobs, extra = {}, others = []) {
    const { seconds, redisS, clientS, commands, reads } = this;
    return { jobs, seconds, redis_s: redisS, client_s: [clientS, ...others], commands, reads, extra };
  }
  async #info(section) {
    const lines = (await this.redis.info(section)).split('\r\n').filter((line) => line.includes(':'));
    return Object.fromEntries(lines.map((line) => line.split(':', 2)));
  }
  async #server() {
    const [cpu, stats] = [await this.#info('cpu'), await this.#info('stats')];
    return {
      cpu: Number(cpu.used_cpu_user) + Number(cpu.used_cpu_sys),
      commands: Number(stats.total_commands_processed),
      reads: Number(stats.total_reads_processed ?? 0),
    };
  }
}

// The figures of two stages of the same jobs, added up.
export function both(first, second, jobs, extra) {
  const result = first.result(jobs, extra);
  result.seconds += second.seconds;
  result.redis_s += second.redisS;
  result.client_s[0] += second.clientS;
  result.commands += second.commands;
  result.reads += second.reads;
  return result;
}
