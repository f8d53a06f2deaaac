import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Command, CommanderError } from 'commander';
import { COMMANDS, type CommandEntry } from '../../src/cli/help.js';
import { buildProgram, report, runProgram } from '../../src/cli/program.js';
import { GatewayError } from '../../src/errors.js';
import { d4gw } from '../support/program.js';
import { repository } from '../support/shared.js';

describe('d4gw', () => {
  it('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
    const { code, stdout, stderr } = await d4gw(['--version']);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('--help lists every command with a line each', async () => {
    const { code, stdout } = await d4gw(['--help']);
    assert.equal(code, 0);
    for (const { name, summary } of COMMANDS) {
      assert.match(stdout, new RegExp(`^ +${name} .*${summary}$`, 'm'));
    }
  });

  it('without a command, the help is on standard error, and the exit code 2', async () => {
    const { code, stdout, stderr } = await d4gw([]);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^Usage: d4gw/);
  });

  for (const { name } of COMMANDS) {
    it(`${name} --help documents it, and an unknown option is one line with exit code 2`, async () => {
      const help = await d4gw([name, '--help']);
      assert.equal(help.code, 0, help.stderr);
      assert.match(help.stdout, new RegExp(`^Usage: d4gw ${name} `));
      assert.equal((await d4gw(['help', name])).stdout, help.stdout);
      const wrong = await d4gw([name, '--no-such-option']);
      assert.equal(wrong.code, 2);
      assert.equal(wrong.stdout, '');
      assert.match(wrong.stderr, /^d4gw: .*; see d4gw .*--help\n$/);
    });
  }

  it('an unknown command is one line that names a near one', async () => {
    const { code, stderr } = await d4gw(['serv']);
    assert.equal(code, 2);
    assert.equal(stderr, "d4gw: unknown command 'serv' (Did you mean serve?); see d4gw --help\n");
  });

  it('a reader that goes away ends it quietly', async () => {
    const program = join(repository, 'dist', 'src', 'main.js');
    const child = spawn(process.execPath, [program, 'check-config', '--schema']);
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  });
});

describe('runProgram', () => {
  const entry = (name: string, action: () => unknown): CommandEntry => ({
    name,
    summary: name,
    load: async () =>
      new Command(name).action(async () => {
        await action();
      }),
  });
  const broken: CommandEntry = {
    name: 'broken',
    summary: 'broken',
    load: () => Promise.reject(new Error('no such module')),
  };

  it('reads the module of the named command alone', async () => {
    let ran = 0;
    await runProgram(['good'], [broken, entry('good', () => ran++)]);
    assert.equal(ran, 1);
    await assert.rejects(runProgram(['broken'], [broken, entry('good', () => ran++)]), {
      message: 'no such module',
    });
  });

  it('waits for the command, and rejects with what it throws', async () => {
    const error = new GatewayError('D4GW_E_LEDGER', 'does not balance');
    const commands = [entry('bad', () => Promise.reject(error))];
    await assert.rejects(runProgram(['bad'], commands), (thrown) => thrown === error);
  });

  it('a usage error within a nested command never ends the process by itself', async () => {
    const nested: CommandEntry = {
      name: 'outer',
      summary: 'outer',
      load: async () =>
        new Command('outer').addCommand(new Command('inner').requiredOption('--id <id>')),
    };
    const program = await buildProgram(['outer', 'inner'], [nested]);
    const lines: string[] = [];
    for (const command of [program, ...program.commands, ...program.commands[0]!.commands]) {
      command.configureOutput({ writeErr: (text) => lines.push(text) });
    }
    await assert.rejects(program.parseAsync(['outer', 'inner'], { from: 'user' }), CommanderError);
    assert.deepEqual(lines, [
      "d4gw: required option '--id <id>' not specified; see d4gw outer inner --help\n",
    ]);
  });
});

describe('report', () => {
  function reported(error: unknown) {
    const lines: string[] = [];
    const code = report(error, (text) => lines.push(text) > 0);
    return { code, text: lines.join('') };
  }

  it('a GatewayError is its message, each line marked, with its exit code', () => {
    assert.deepEqual(reported(new GatewayError('D4GW_E_CONFIG', 'f: a: one\nf: b: two')), {
      code: 2,
      text: 'd4gw: f: a: one\nd4gw: f: b: two\n',
    });
    assert.equal(reported(new GatewayError('D4GW_E_LISTEN', 'port 1 is in use')).code, 1);
  });

  it('anything else is one line and a hint; D4GW_DEBUG=1 shows the stack', () => {
    const error = new TypeError('x is not\n a function');
    assert.deepEqual(reported(error), {
      code: 1,
      text: 'd4gw: unexpected: x is not a function (D4GW_DEBUG=1 shows where)\n',
    });
    process.env.D4GW_DEBUG = '1';
    try {
      assert.match(reported(error).text, /at .*program\.test/);
    } finally {
      delete process.env.D4GW_DEBUG;
    }
  });
});
