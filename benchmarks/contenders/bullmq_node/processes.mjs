// The same program in a second process: a producer, a second worker, or one that is killed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';

export class Companion {
  constructor(testCase, role) {
    const order = JSON.stringify({ ...testCase, role });
    this.child = spawn(process.execPath, [process.argv[1], order], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = once(this.child, 'close');
    this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }
  // Resolves when it is connected and waits to be told to begin.
  static async start(testCase, role) {
    const companion = new Companion(testCase, role);
    await companion.expect('ready');
    return companion;
  }
  say(word) {
    this.child.stdin.write(`${word}\n`);
  }
  async expect(word) {
    const { value } = await this.lines.next();
    if (value !== word) throw new Error(`the second process said ${JSON.stringify(value)} instead of "${word}"`);
  }
  // Ends it as a crash does.
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
  // Waits for its end; the CPU seconds it used since "go".
  async finish() {
    const { value } = await this.lines.next();
    const [code] = await this.ended;
    if (code !== 0 || value === undefined) throw new Error(`the second process failed with exit code ${code}`);
    return JSON.parse(value).cpu;
  }
}

// The other side of Companion.
export class Cue {
  constructor() {
    this.lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  }
  async ready() {
    this.say('ready');
    await this.told();
    this.cpu = process.cpuUsage();
  }
  async told() {
    await this.lines.next();
  }
  say(word) {
    process.stdout.write(`${word}\n`);
  }
  report() {
    const { user, system } = process.cpuUsage(this.cpu);
    this.say(JSON.stringify({ cpu: (user + system) / 1e6 }));
  }
}
