import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { end, own } from '../proc/owned.js';
import { fileBytes } from './stored.js';
import type { Subject, Surroundings } from './subject.js';

const START_DEADLINE_MS = 10_000;
const STOP_DEADLINE_MS = 3_000;
/** A whole TLS record a read: its default of 8 KiB would halve what it can do. */
const BLOCK_BYTES = 65_536;

/** `socat` from TLS to one file, a process a connection. It verifies nothing. */
export async function startSocat(around: Surroundings, cpus: string | undefined): Promise<Subject> {
  const { dir, cert, key } = keyPair('socat-', around);
  const file = join(dir, 'stored');
  const listen = `OPENSSL-LISTEN:0,bind=127.0.0.1,fork,cert=${cert},key=${key},verify=0`;
  const target = `OPEN:${file},creat,append`;
  const command = ['socat', '-d', '-d', '-u', '-b', `${BLOCK_BYTES}`, listen, target];
  const { child, match } = await startTool(command, cpus, /listening on AF=2 [^:\n]*:(\d+)/);
  // Bytes of files that were checked and removed.
  let before = 0;
  return {
    pid: child.pid!,
    host: '127.0.0.1',
    ports: { tls: Number(match[1]) },
    account: async () => ({ streamBytes: before + fileBytes(file), problems: [] }),
    checkStored: async () => {
      before += fileBytes(file);
      rmSync(file, { force: true });
      return [];
    },
    stop: async () => {
      await end(child, STOP_DEADLINE_MS);
      return [];
    },
  };
}

/** `openssl s_server`: only for handshakes. */
export async function startOpenssl(
  around: Surroundings,
  cpus: string | undefined,
): Promise<Subject> {
  const { cert, key } = keyPair('openssl-', around);
  const command = ['openssl', 's_server', '-accept', '127.0.0.1:0', '-www'];
  command.push('-cert', cert, '-key', key);
  const { child, match } = await startTool(command, cpus, /ACCEPT [^\n]*:(\d+)/);
  return {
    pid: child.pid!,
    host: '127.0.0.1',
    ports: { tls: Number(match[1]) },
    account: async () => ({ problems: [] }),
    stop: async () => {
      await end(child, STOP_DEADLINE_MS);
      return [];
    },
  };
}

function keyPair(prefix: string, around: Surroundings) {
  mkdirSync(around.dir, { recursive: true });
  const dir = mkdtempSync(join(around.dir, prefix));
  const cert = join(dir, 'cert.pem');
  const key = join(dir, 'key.pem');
  writeFileSync(cert, around.cert);
  writeFileSync(key, around.key, { mode: 0o600 });
  return { dir, cert, key };
}

/** Starts a program and waits for the line that says its port. */
async function startTool(command: string[], cpus: string | undefined, pattern: RegExp) {
  const whole = cpus === undefined ? command : ['taskset', '-c', cpus, ...command];
  const child = own(spawn(whole[0]!, whole.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] }));
  const match = await new Promise<RegExpMatchArray>((resolve, reject) => {
    let text = '';
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new Error(`${command[0]} ${why}\n${text}`));
    };
    const timer = setTimeout(() => fail('did not say its port'), START_DEADLINE_MS);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code) => fail(`ended (${code})`));
    const look = (chunk: string) => {
      text = (text + chunk).slice(-8192);
      const found = text.match(pattern);
      if (!found) return;
      clearTimeout(timer);
      resolve(found);
    };
    for (const stream of [child.stdout, child.stderr] as Readable[]) {
      stream.setEncoding('utf8').on('data', look);
    }
  });
  return { child, match };
}
