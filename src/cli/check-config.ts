import { Command } from 'commander';
import { stringify } from 'yaml';
import { loadConfig } from '../config/load.js';
import { configJsonSchema } from '../config/schema.js';

interface Options {
  config?: string;
  json?: true;
  schema?: true;
}

/** `d4gw check-config`: what is printed is itself a configuration with the same meaning. */
export function checkConfigCommand(): Command {
  return new Command('check-config')
    .description(
      'Validates a configuration and prints it with every default filled in and every path ' +
        'absolute. Each problem is one line on standard error; the exit code is then 2.',
    )
    .option('--config <file>', 'configuration file (default: the embedded configuration)')
    .option('--json', 'print JSON instead of YAML')
    .option('--schema', 'print the JSON Schema of configuration files instead')
    .action((options: Options) => {
      if (options.schema) {
        process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
        return;
      }
      const config = loadConfig(options.config);
      process.stdout.write(
        options.json ? `${JSON.stringify(config, null, 2)}\n` : stringify(config),
      );
    });
}
