import { Command } from 'commander';
import { Primary } from '../cluster/primary.js';
import { loadConfig } from '../config/load.js';

/** `d4gw serve`: runs the gateway until it is told to stop. */
export function serveCommand(): Command {
  return new Command('serve')
    .description('run the gateway')
    .option('--config <file>', 'configuration (YAML); without it the embedded default is used')
    .addHelpText(
      'after',
      `
Signals: SIGTERM or SIGINT stops accepting, finishes what was received and exits with 0; a second
one ends at once. SIGHUP takes the configuration and the certificates anew, as \`d4gw reload\` does.
Exit codes: 0 stopped, 1 it could not run, 2 the configuration is wrong.`,
    )
    .action(async (options: { config?: string }) => {
      const config = loadConfig(options.config);
      const stopEarly = () => process.exit(1);
      process.on('SIGINT', stopEarly);
      process.on('SIGTERM', stopEarly);
      // Until it runs there is nothing to reload, and the signal must not end it.
      let reload = () => {};
      process.on('SIGHUP', () => reload());
      const primary = await Primary.start(config, () => loadConfig(options.config));
      // It logs what is wrong.
      reload = () => void primary.reload().catch(() => {});
      let asked = 0;
      const stop = () => {
        asked += 1;
        void primary.stop().then(() => process.exit(asked > 1 ? 1 : 0));
      };
      for (const signal of ['SIGINT', 'SIGTERM'] as const) {
        process.on(signal, stop);
        process.off(signal, stopEarly);
      }
      if (options.config === undefined)
        process.stderr.write(welcome(primary.sources, primary.control));
    });
}

/** What to do next, for somebody who starts the gateway for the first time. */
function welcome(sources: readonly string[], control: Primary['control']): string {
  const d4gw = 'node dist/src/main.js';
  return `
d4-gateway listens on ${sources.join(', ')}.

Add a sensor and stream a live capture to it, from another terminal in this directory:

  ${d4gw} sensor add --name my-sensor --out ./my-sensor
  sudo tcpdump -i any -U -w - 'not port 4443' | \\
    ${d4gw} client -c ./my-sensor --to 127.0.0.1:4443 --ca data/tls/cert.pem

The stream is stored under data/sensors. The page is at ${control?.url}: log in with the token in
data/control/admin-token (the same for metrics and the REST API: see the README). Stop with Ctrl-C.

`;
}
