import { Command, CommanderError } from 'commander';
import { GatewayError, messageOf } from '../errors.js';
import { packageVersion } from '../version.js';
import { COMMANDS, type CommandEntry, HELP_FOOTER } from './help.js';

/** Runs one command line to its end, or throws what ended it. Reads the named command alone. */
export async function runProgram(
  args: readonly string[],
  commands: readonly CommandEntry[] = COMMANDS,
): Promise<void> {
  const program = await buildProgram(args, commands);
  await program.parseAsync([...args], { from: 'user' });
}

/** The program with the command that `args` name loaded, and every other as a line of help. */
export async function buildProgram(
  args: readonly string[],
  commands: readonly CommandEntry[] = COMMANDS,
): Promise<Command> {
  const program = new Command('d4gw')
    .description('A gateway for the D4 protocol: verifies the streams of sensors and stores them.')
    .version(packageVersion())
    .addHelpText('after', HELP_FOOTER);
  const [first, second] = args;
  const wanted = first === 'help' ? second : first;
  for (const entry of commands) {
    const command =
      entry.name === wanted
        ? (await entry.load()).summary(entry.summary)
        : new Command(entry.name).description(entry.summary);
    program.addCommand(command);
  }
  throwErrors(program);
  return program;
}

/**
 * Commander throws in place of ending the process, and says what was wrong on one line, with where
 * to read on.
 */
function throwErrors(command: Command, parents = ''): void {
  const name = parents + command.name();
  command.exitOverride().configureOutput({
    outputError: (message, write) => {
      const line = message
        .replace(/^error: /, '')
        .replace(/\.?\s*\n\s*/g, ' ')
        .trim();
      write(`d4gw: ${line.replace(/\.$/, '')}; see ${name} --help\n`);
    },
  });
  for (const inner of command.commands) throwErrors(inner, `${name} `);
}

/**
 * Says on standard error what ended a command, without a stack.
 * @returns the exit code
 */
export function report(error: unknown, write = (text: string) => process.stderr.write(text)) {
  // Commander has said what was wrong, or printed the help or version that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof GatewayError) {
    write(`${error.message.replace(/^/gm, 'd4gw: ')}\n`);
    return error.exitCode;
  }
  if (process.env.D4GW_DEBUG === '1' && error instanceof Error) write(`${error.stack}\n`);
  else {
    const text = messageOf(error).replace(/\s*\n\s*/g, ' ');
    write(`d4gw: unexpected: ${text} (D4GW_DEBUG=1 shows where)\n`);
  }
  return 1;
}
