import { resolve } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import { GatewayError } from '../errors.js';
import { readArchives, renderArchives } from '../ledger/archives.js';
import { readLedger } from '../ledger/report.js';
import { renderLedger } from '../ledger/table.js';
import { relaySpools } from '../sinks/relay/prepare.js';
import { formatUuid, isSensorUuid, parseUuid } from '../wire/uuid.js';

interface LedgerCommandOptions {
  config?: string;
  dataDir?: string;
  sensor?: string;
  json?: boolean;
  sessions?: boolean;
}

/** `d4gw ledger`: conservation, by sensor and by sink. Exits 1 where it does not hold. */
export function ledgerCommand(): Command {
  return new Command('ledger')
    .description(
      'Shows, for each sensor, type and sink, what was received, delivered, rejected, lost and is ' +
        'in flight, in frames and payload bytes; and what each relay did with what it took. Works beside a running gateway and without one. ' +
        'Exits 1 where received = delivered + rejected + lost + dropped + in flight does not hold, or where ' +
        'figures are missing because a journal or a report was damaged.',
    )
    .option('--config <file>', 'configuration of the gateway (default: the embedded one)')
    .option('--data-dir <dir>', 'its data directory, in place of the one configured')
    .option('--sensor <uuid>', 'this sensor alone')
    .option('--sessions', 'list the open sessions too')
    .option('--json', 'print JSON')
    .action(run);
}

async function run(options: LedgerCommandOptions): Promise<void> {
  const { sessions = false } = options;
  const sensor = options.sensor === undefined ? undefined : sensorUuid(options.sensor);
  const config = options.dataDir === undefined ? loadConfig(options.config) : undefined;
  const dataDir = config?.dataDir ?? resolve(options.dataDir!);
  const report = await readLedger(dataDir, sensor, config && relaySpools(config));
  // Where they are, the configuration alone knows.
  const archives = config ? await readArchives(config, sensor) : [];
  if (options.json) {
    const { sessions: open, ...rest } = report;
    const shown = sessions ? report : { ...rest, openSessions: open.length };
    process.stdout.write(`${JSON.stringify({ ...shown, archives }, null, 2)}\n`);
  } else {
    process.stdout.write(renderLedger(report, { sessions }) + renderArchives(archives));
  }
  const { balanced, damagedRows, spoiled } = report;
  if (!balanced || damagedRows > 0 || spoiled.sessions > 0) process.exitCode = 1;
}

function sensorUuid(text: string): string {
  const bytes = parseUuid(text);
  const uuid = bytes && formatUuid(bytes);
  if (!uuid || !isSensorUuid(uuid)) {
    throw new GatewayError('D4GW_E_USAGE', `--sensor ${text}: expected a version 4 UUID`);
  }
  return uuid;
}
