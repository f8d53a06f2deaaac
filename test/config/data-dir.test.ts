import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { lockDataDir, prepareDataDir } from '../../src/config/data-dir.js';
import { GatewayError } from '../../src/errors.js';

const CHILD = new URL('./lock-child.js', import.meta.url);
const CONTENDERS = 4;
const CONTEND_MS = 700;
const CHILD_TIMEOUT_MS = 20_000;

let dir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'd4gw-data-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true });
});

function start(task: string): ChildProcess {
  const child = fork(CHILD, [task, dir, String(CONTEND_MS)], { timeout: CHILD_TIMEOUT_MS });
  children.push(child);
  return child;
}

const error = (code: string, message: RegExp) => (thrown: unknown) =>
  thrown instanceof GatewayError && thrown.code === code && message.test(thrown.message);

describe('prepareDataDir', () => {
  test('creates it with its parents, closed to the world, and leaves nothing in it', () => {
    const made = prepareDataDir(join(dir, 'a', 'b'));
    assert.equal(made, join(dir, 'a', 'b'));
    assert.equal(statSync(made).mode & 0o007, 0);
    assert.deepEqual(readdirSync(made), []);
    assert.equal(prepareDataDir(made), made);
  });

  test('names the directory that cannot be used, and the mend', () => {
    const file = join(dir, 'file');
    writeFileSync(file, '');
    assert.throws(() => prepareDataDir(file), error('D4GW_E_DATA_DIR', /file is not usable .*set/));
    assert.throws(() => prepareDataDir(join(file, 'x')), error('D4GW_E_DATA_DIR', /ENOTDIR/));
    assert.throws(() => prepareDataDir('/proc/d4gw'), error('D4GW_E_DATA_DIR', /\/proc\/d4gw/));
  });
});

describe('lockDataDir', () => {
  test('is held once, and again after its release', () => {
    const release = lockDataDir(dir);
    const locked = error('D4GW_E_LOCKED', new RegExp(`process ${process.pid} .*stop it`));
    assert.throws(() => lockDataDir(dir), locked);
    release();
    const again = lockDataDir(dir);
    release();
    assert.throws(() => lockDataDir(dir), locked, 'a release that comes twice frees nothing');
    again();
    lockDataDir(dir)();
    assert.equal(readdirSync(join(dir, 'lock')).length, 1, 'what is past is tidied away');
  });

  test('outlives no killed process', async () => {
    const holder = start('hold');
    assert.deepEqual(await once(holder, 'message'), [true, undefined]);
    assert.throws(() => lockDataDir(dir), error('D4GW_E_LOCKED', new RegExp(`${holder.pid}`)));
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    lockDataDir(dir)();
  });

  test('is stale where its process id belongs to another process or another boot', () => {
    const lock = join(dir, 'lock');
    const release = lockDataDir(dir);
    const [name] = readdirSync(lock);
    const own = readFileSync(join(lock, name!), 'utf8');
    release();
    const [, pid, start, boot] = /^(\d+) (\d+) (\S+)\n$/.exec(own)!;
    assert.equal(Number(pid), process.pid);
    const stale = [
      `${pid} ${Number(start) + 1} ${boot}\n`,
      `${pid} ${start} another-boot\n`,
      `${pid}\n`,
      ...['', 'x', '0 0 0\n', '-1 5 x\n'],
    ];
    for (const content of stale) {
      for (const old of readdirSync(lock)) rmSync(join(lock, old));
      writeFileSync(join(lock, name!), content);
      lockDataDir(dir)();
    }
    writeFileSync(join(lock, '99'), own);
    assert.throws(() => lockDataDir(dir), error('D4GW_E_LOCKED', /stop it/));
  });

  test('needs a directory that it can write to', () => {
    const file = join(dir, 'file');
    writeFileSync(file, '');
    assert.throws(() => lockDataDir(file), error('D4GW_E_DATA_DIR', /ENOTDIR/));
  });

  test('has one owner at a time, whoever contends', async () => {
    const contenders = Array.from({ length: CONTENDERS }, () => start('contend'));
    await Promise.all(contenders.map((child) => once(child, 'message')));
    const results = contenders.map((child) =>
      Promise.race([
        once(child, 'message').then(([taken]) => taken as number),
        once(child, 'exit').then(([code]) => assert.fail(`two were inside (exit ${code})`)),
      ]),
    );
    for (const child of contenders) child.send('go');
    const taken = await Promise.all(results);
    assert.ok(taken.reduce((sum, count) => sum + count, 0) > CONTENDERS, 'the lock changed hands');
    assert.equal(existsSync(join(dir, 'inside')), false);
  });
});
