// Scenarios of producers.
import { once } from 'node:events';
import net from 'node:net';

import { Meter, nowUs, payload, percentiles } from './case.mjs';
import { fill, openQueue } from './library.mjs';

const TASKS = 1000;

export async function add_bulk(testCase) {
  const [queue, meter] = [await openQueue(testCase), new Meter(testCase)];
  const share = Math.floor(testCase.count / testCase.concurrency);
  await meter.start();
  await Promise.all(Array.from({ length: testCase.concurrency }, () => fill(queue, share, testCase.batch)));
  await meter.stop();
  return meter.result(share * testCase.concurrency);
}

export async function add_concurrent(testCase) {
  const [queue, meter] = [await openQueue(testCase), new Meter(testCase)];
  const each = Math.max(1, Math.floor(testCase.count / TASKS));
  const adder = async (first) => {
    for (let i = first; i < first + each; i++) await queue.add('noop', payload(i));
  };
  await meter.start();
  await Promise.all(Array.from({ length: TASKS }, (_, n) => adder(n * each)));
  await meter.stop();
  return meter.result(each * TASKS);
}

// One after the other, in ten turns with as many bare PINGs, so that both see the same machine.
export async function add_sequential(testCase) {
  const [queue, meter, ping] = [await openQueue(testCase), new Meter(testCase), await barePing(testCase)];
  const [turn, times] = [Math.floor(testCase.count / 10), []];
  let pinged = 0;
  for (let part = 0; part < 10; part++) {
    const began = nowUs();
    for (let i = 0; i < turn; i++) await ping();
    pinged += nowUs() - began;
    await meter.start();
    for (let i = part * turn; i < (part + 1) * turn; i++) {
      const asked = nowUs();
      await queue.add('noop', payload(i));
      times.push((nowUs() - asked) / 1000);
    }
    await meter.stop();
  }
  const jobs = turn * 10;
  const [addUs, pingUs] = [(meter.seconds / jobs) * 1e6, pinged / jobs];
  return meter.result(jobs, { add_us: addUs, ping_us: pingUs, times_ping: addUs / pingUs, ...percentiles(times) });
}

// The least that a round trip can cost here: a socket without any client library.
async function barePing(testCase) {
  const socket = net.connect({ host: testCase.host, port: testCase.port, noDelay: true });
  await once(socket, 'connect');
  let answered;
  socket.on('data', () => answered());
  return () => new Promise((resolve) => {
    answered = resolve;
    socket.write('*1\r\n$4\r\nPING\r\n');
  });
}
