// Makes a clone ready to run: installs when the lock file changed, builds when sources changed.
// Plain JavaScript without dependencies, for it runs before there are any.
//
//   node .ci/prepare.mjs           install and build
//   node .ci/prepare.mjs --tools   also the programs that the tests run as peers
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const NODE_MAJOR_MIN = 20;
const NODE_MAJOR_MAX = 25;
const INSTALL_TIMEOUT_MS = 10 * 60_000;
const BUILD_TIMEOUT_MS = 5 * 60_000;
const APT_TIMEOUT_MS = 5 * 60_000;
const IN_CI = process.env.CI === 'true';

/** What is built, from what. A stamp holds the digest of the inputs that the outputs came from. */
const TARGETS = [
  {
    script: 'build:wasm',
    stamp: 'dist/.stamp-wasm',
    inputs: ['assembly', 'asconfig.json', 'package-lock.json'],
    outputs: ['dist/wasm/d4gw.simd.wasm', 'dist/wasm/d4gw.scalar.wasm'],
  },
  {
    script: 'build:ts',
    stamp: 'dist/.stamp-ts',
    inputs: ['src', 'test', 'bench', 'tsconfig.json', 'package-lock.json'],
    outputs: ['dist/src/main.js'],
  },
  {
    script: 'build:ui',
    stamp: 'dist/.stamp-ui',
    inputs: [
      'src/control/ui',
      'src/control/pages.ts',
      'src/wire/types.ts',
      'tsconfig.json',
      'package-lock.json',
    ],
    outputs: ['dist/ui/index.html'],
  },
];
/** Folders of TypeScript whose outputs mirror them under dist/. */
const COMPILED = ['src', 'test', 'bench'];
const COMPILED_ENDINGS = ['.js', '.js.map', '.d.ts'];

/** Programs that the tests run, and the Debian packages that hold them. */
const TOOLS = {
  socat: 'socat',
  tcpdump: 'tcpdump',
  lz4: 'lz4',
  jq: 'jq',
  openssl: 'openssl',
  chromium: 'chromium',
};

class PrepareError extends Error {}

const at = (path) => join(ROOT, path);
const say = (text) => process.stderr.write(`prepare: ${text}\n`);

function main(args) {
  for (const arg of args) {
    if (arg !== '--tools') throw new PrepareError(`unknown option ${arg}; there is --tools`);
  }
  checkNode();
  install();
  for (const target of TARGETS) build(target);
  if (args.includes('--tools')) tools();
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < NODE_MAJOR_MIN || major > NODE_MAJOR_MAX) {
    const range = `${NODE_MAJOR_MIN} to ${NODE_MAJOR_MAX}`;
    throw new PrepareError(`Node.js ${process.versions.node} is not supported; use ${range}`);
  }
}

function install() {
  const stamp = at('node_modules/.stamp-lock');
  // Some packages bring a binary for one platform alone.
  const wanted = `${digest(['package-lock.json'])} ${process.platform}-${process.arch}\n`;
  if (readIfThere(stamp) === wanted) return;
  say('installing packages');
  rmSync(stamp, { force: true });
  npm(['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], INSTALL_TIMEOUT_MS);
  writeFileSync(stamp, wanted);
}

function build({ script, stamp, inputs, outputs }) {
  const wanted = `${digest(inputs)}\n`;
  if (readIfThere(at(stamp)) === wanted && outputs.every((path) => existsSync(at(path)))) return;
  say(`npm run ${script}`);
  // Gone before anything is built: a build that fails or is interrupted leaves none.
  rmSync(at(stamp), { force: true });
  npm(['run', '--silent', script], BUILD_TIMEOUT_MS);
  if (script === 'build:ts') removeStale();
  for (const path of outputs) {
    if (!existsSync(at(path))) throw new PrepareError(`npm run ${script} did not make ${path}`);
  }
  mkdirSync(dirname(at(stamp)), { recursive: true });
  writeFileSync(at(stamp), wanted);
}

/** Removes outputs whose source is gone: a test that was deleted must not run on. */
function removeStale() {
  for (const folder of COMPILED) {
    for (const path of filesUnder(at(`dist/${folder}`))) {
      const ending = COMPILED_ENDINGS.find((candidate) => path.endsWith(candidate));
      if (ending === undefined) continue;
      const source = `${relative(at('dist'), path).slice(0, -ending.length)}.ts`;
      if (!existsSync(at(source))) rmSync(path);
    }
  }
}

function tools() {
  const missing = Object.keys(TOOLS).filter((name) => !onPath(name));
  if (missing.length === 0) return;
  const packages = missing.map((name) => TOOLS[name]);
  let why = '';
  if (process.getuid?.() === 0 && onPath('apt-get')) {
    say(`installing ${packages.join(' ')}`);
    why = aptInstall(packages);
  }
  const still = missing.filter((name) => !onPath(name));
  if (still.length === 0) return;
  const wanted = still.map((name) => TOOLS[name]).join(' ');
  const text = `the tests need ${still.join(', ')}${why}; run: apt-get install ${wanted}`;
  if (IN_CI) throw new PrepareError(text);
  say(`${text} (tests that need them are skipped)`);
}

/** @returns why it failed, for a message, or nothing */
function aptInstall(packages) {
  const options = ['-qq', '-o', 'DPkg::Lock::Timeout=60', '-o', 'Acquire::Retries=3'];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [
    ['update', ...options],
    ['install', '-y', '--no-install-recommends', ...options, ...packages],
  ]) {
    const failed = runProgram('apt-get', args, APT_TIMEOUT_MS, env);
    if (failed) return ` (apt-get ${args[0]} ${failed})`;
  }
  return '';
}

function npm(args, timeout) {
  const failed = runProgram('npm', args, timeout, process.env);
  if (failed) throw new PrepareError(`npm ${args.join(' ')} ${failed}`);
}

/** Runs a program with its output on standard error; returns how it failed, or nothing. */
function runProgram(command, args, timeout, env) {
  const { error, signal, status } = spawnSync(command, args, {
    cwd: ROOT,
    env,
    timeout,
    // Standard output belongs to what runs next, which may write data there.
    stdio: ['ignore', 2, 2],
  });
  if (error?.code === 'ETIMEDOUT') return `had not ended after ${timeout / 60_000} minutes`;
  if (error) return `could not run: ${error.message}`;
  if (signal) return `was ended by ${signal}`;
  return status === 0 ? undefined : `failed with exit code ${status}`;
}

/** SHA-256 over the names and contents of files, and of all files under folders. */
function digest(inputs) {
  const hash = createHash('sha256');
  for (const input of inputs) {
    for (const path of filesUnder(at(input))) {
      const content = readFileSync(path);
      hash.update(`${relative(ROOT, path)}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest('hex');
}

/** The file itself, or every file under a folder, sorted; nothing where there is neither. */
function filesUnder(path) {
  if (!existsSync(path)) return [];
  let entries;
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOTDIR') return [path];
    throw error;
  }
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const inner = join(path, entry.name);
      return entry.isDirectory() ? filesUnder(inner) : entry.isFile() ? [inner] : [];
    });
}

function onPath(name) {
  return (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

try {
  main(process.argv.slice(2));
} catch (error) {
  say(error instanceof PrepareError || error.code ? error.message : error.stack);
  process.exit(1);
}
