import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { buildLogger, type LoggerOptions } from '../../src/log/logger.js';
import { run } from '../support/process.js';

function capture(options: Partial<LoggerOptions>, terminal = false) {
  const lines: string[] = [];
  const destination = { write: (line: string) => lines.push(line) };
  const log = buildLogger({ level: 'info', format: 'auto', ...options }, destination, terminal);
  return { lines, log };
}

describe('JSON', () => {
  it('one line a fact: ISO time, level by name, process, part and bindings', () => {
    const { lines, log } = capture({ name: 'worker', bindings: { worker: 2 } });
    log.info({ sensor: 'x' }, 'session opened');
    log.debug('below the level');
    assert.equal(lines.length, 1);
    const { time, ...rest } = JSON.parse(lines[0]!);
    assert.equal(new Date(time).toISOString(), time);
    assert.deepEqual(rest, {
      level: 'info',
      pid: process.pid,
      name: 'worker',
      worker: 2,
      sensor: 'x',
      msg: 'session opened',
    });
  });

  it('secrets are never written, at the top or one level in, nor from bindings', () => {
    const { lines, log } = capture({ bindings: { password: 'hidden-0' } });
    log.info({
      key: 'hidden-1',
      sensor: { hmacKey: 'hidden-2', secret: 'hidden-3', name: 'seen' },
    });
    log.child({ sharedSecret: 'hidden-4' }).info({ tls: { privateKey: 'hidden-5' } });
    assert.doesNotMatch(lines.join(''), /hidden/);
    assert.match(lines[0]!, /"name":"seen"/);
  });

  it('an error is its code and message; its stack only where debugging is asked for', () => {
    const error = Object.assign(new Error('port in use'), { code: 'EADDRINUSE' });
    const { lines, log } = capture({});
    log.error({ err: error }, 'failed');
    assert.deepEqual(JSON.parse(lines[0]!).err, {
      type: 'Error',
      code: 'EADDRINUSE',
      message: 'port in use',
    });
    const debug = capture({ level: 'debug' });
    debug.log.error({ err: error }, 'failed');
    assert.match(JSON.parse(debug.lines[0]!).err.stack, /logger\.test/);
  });
});

describe('readable', () => {
  it('on a terminal, or where it is asked for; JSON is kept where that is', () => {
    assert.equal(write(capture({}, true)).includes('{"level"'), false);
    assert.equal(write(capture({ format: 'pretty' })).includes('{"level"'), false);
    assert.equal(write(capture({ format: 'json' }, true)).startsWith('{"level"'), true);
    function write({ lines, log }: ReturnType<typeof capture>): string {
      log.info({ sensor: 'x' }, 'hello');
      assert.match(lines[0]!, /hello/);
      return lines[0]!;
    }
  });

  it('what a peer sent does not steer the terminal', () => {
    for (const sent of ['\u001b[2J', '\\\u001b[2J', '\\\\\u001b[2J', '\u009b2J', '\u007f']) {
      const { lines, log } = capture({ format: 'pretty' });
      log.info({ sni: sent }, `text ${sent} text`);
      log.error({ err: new Error(sent) }, 'failed');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the absence of one is the test
      assert.doesNotMatch(lines.join(''), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    }
  });
});

const MODULE = new URL('../../src/log/logger.js', import.meta.url).href;
const script = (body: string) => [
  '--input-type=module',
  '-e',
  `import { createLogger } from ${JSON.stringify(MODULE)};
   const log = createLogger({ level: 'info', format: process.env.FORMAT ?? 'json' });
   ${body}`,
];

describe('createLogger', () => {
  for (const FORMAT of ['json', 'pretty']) {
    it(`loses no line when the process ends at once (${FORMAT})`, async () => {
      const body = `for (let n = 0; n < 500; n++) log.info({ n }, 'line'); process.kill(process.pid, 'SIGKILL');`;
      const { stdout, signal } = await run(process.execPath, script(body), { env: { FORMAT } });
      assert.equal(signal, 'SIGKILL');
      assert.equal(stdout.trimEnd().split('\n').length, 500);
      assert.match(stdout, /499/);
    });
  }

  it('writes whole lines from worker threads', async () => {
    const inner = `
      import { Worker, isMainThread } from 'node:worker_threads';
      for (let n = 0; n < 200; n++) log.info({ n }, 'x'.repeat(200));`;
    const body = `${inner}
      if (isMainThread) for (let w = 0; w < 3; w++) {
        new Worker(new URL('data:text/javascript,' + encodeURIComponent(
          process.execArgv[process.execArgv.indexOf('-e') + 1])));
      }`;
    const { stdout, stderr } = await run(process.execPath, script(body));
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 800, stderr);
    for (const line of lines) assert.equal(JSON.parse(line).msg.length, 200);
  });

  it('a reader that goes away does not end the process', async () => {
    const body = `
      process.stdin.once('data', () => {
        for (let n = 0; n < 100; n++) log.info('nobody reads this');
        setImmediate(() => process.exit(7));
      });`;
    const child = spawn(process.execPath, script(body), { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdout.destroy();
    child.stdin.end('go');
    const [code] = await once(child, 'exit');
    assert.equal(code, 7);
  });

  const full = '/dev/full';
  it('a full disk behind standard output does not end the process', async () => {
    assert(existsSync(full));
    const fd = openSync(full, 'w');
    const body = `
      for (let n = 0; n < 100; n++) log.info('there is no room for this');
      setImmediate(() => setImmediate(() => process.exit(7)));`;
    const child = spawn(process.execPath, script(body), { stdio: ['ignore', fd, 'inherit'] });
    closeSync(fd);
    const [code] = await once(child, 'exit');
    assert.equal(code, 7);
  });
});
