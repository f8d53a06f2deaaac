import type { Command } from 'commander';

/** One command of the program; its module is read only when it runs. */
export interface CommandEntry {
  name: string;
  /** One line for `d4gw --help`. */
  summary: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    summary: 'run the gateway',
    load: async () => (await import('./serve.js')).serveCommand(),
  },
  {
    name: 'sensor',
    summary: 'add, list, approve, block and remove sensors',
    load: async () => (await import('./sensor.js')).sensorCommand(),
  },
  {
    name: 'status',
    summary: 'show how a running gateway is',
    load: async () => (await import('./status.js')).statusCommand(),
  },
  {
    name: 'top',
    summary: 'watch a running gateway in the terminal',
    load: async () => (await import('./top.js')).topCommand(),
  },
  {
    name: 'reload',
    summary: 'have a running gateway take its configuration anew',
    load: async () => (await import('./reload.js')).reloadCommand(),
  },
  {
    name: 'token',
    summary: 'make, list and revoke tokens of the control plane',
    load: async () => (await import('./token.js')).tokenCommand(),
  },
  {
    name: 'audit',
    summary: 'show and verify the audit trail',
    load: async () => (await import('./audit.js')).auditCommand(),
  },
  {
    name: 'relay',
    summary: "print or register a relay's pseudonyms",
    load: async () => (await import('./relay.js')).relayCommand(),
  },
  {
    name: 'link',
    summary: 'let other gateways link to this one',
    load: async () => (await import('./link.js')).linkCommand(),
  },
  {
    name: 'client',
    summary: 'send standard input as D4 frames: a native sensor',
    load: async () => (await import('./client.js')).clientCommand(),
  },
  {
    name: 'decode',
    summary: 'read D4 frames: their headers, or their payload',
    load: async () => (await import('./decode.js')).decodeCommand(),
  },
  {
    name: 'replay',
    summary: 'send archived frames again, byte for byte',
    load: async () => (await import('./replay.js')).replayCommand(),
  },
  {
    name: 'spool',
    summary: 'look into spools and archives: inspect, check, export',
    load: async () => (await import('./spool.js')).spoolCommand(),
  },
  {
    name: 'ledger',
    summary: 'show what was received, delivered, rejected and lost',
    load: async () => (await import('./ledger.js')).ledgerCommand(),
  },
  {
    name: 'bench',
    summary: 'measure what this machine takes, or send a load to another',
    load: async () => (await import('./bench.js')).benchCommand(),
  },
  {
    name: 'check-config',
    summary: 'validate a configuration and print it with its defaults',
    load: async () => (await import('./check-config.js')).checkConfigCommand(),
  },
];

export const HELP_FOOTER = `
d4gw COMMAND --help documents each command.

Exit codes: 0 done, 1 it failed or found something wrong, 2 usage or configuration.
Environment: D4GW_DEBUG=1 prints the stack of an unexpected error.`;
