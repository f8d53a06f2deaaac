import type { Certificate } from '../data/types.js';

/** What stands in a client's directory beside what the gateway told. */
export interface ClientChoice {
  type: number;
  /** Of type 254: the meta type, such as `ja3-jl`. */
  metaType: string;
}

/** Where sensors connect: the first listener that a client can use. */
export interface Target {
  kind: 'tls' | 'tcp';
  host: string;
  port: string;
  certificate: Certificate | undefined;
}

const TYPE_EXTENDED = 254;
const ROOT_FILE = 'rootCA.crt';

/** Finds where a sensor connects. @param pageHost the host by which the gateway is reached here */
export function targetOf(
  sources: readonly string[],
  certificates: readonly Certificate[],
  pageHost: string,
): Target | undefined {
  for (const kind of ['tls', 'tcp'] as const) {
    for (const source of sources) {
      const match = /^(\w+) (.*):(\d+)$/.exec(source);
      if (match?.[1] !== kind) continue;
      const bound = match[2]!.replace(/^\[|\]$/g, '');
      // A listener on every address is reached as the page is.
      const host = bound === '::' || bound === '0.0.0.0' ? pageHost : bound;
      const certificate = certificates.find((one) => one.source === source);
      return { kind, host: host.includes(':') ? `[${host}]` : host, port: match[3]!, certificate };
    }
  }
  return undefined;
}

/** The files of the directory to download. */
export function directoryFiles(
  files: Readonly<Record<string, string>>,
  { type, metaType }: ClientChoice,
  target: Target | undefined,
): Record<string, string> {
  const { certificate } = target ?? {};
  return {
    ...files,
    type: `${type}\n`,
    ...(type === TYPE_EXTENDED
      ? { 'metaheader.json': `${JSON.stringify({ type: metaType })}\n` }
      : {}),
    ...(certificate?.isSelfSigned ? { [ROOT_FILE]: certificate.pem } : {}),
  };
}

/** A name that a shell takes as it is. */
export function directoryName(name: string, uuid: string): string {
  const safe = name
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '');
  return safe === '' ? `sensor-${uuid.slice(0, 8)}` : safe.slice(0, 64);
}

export interface ClientCommand {
  name: string;
  text: string;
  note: string;
}

/** What makes the stream, by type: for an example that works. */
function inputOf(type: number, port: string): string {
  if (type === 1 || type === 5) return `sudo tcpdump -i any -U -w - 'not port ${port}'`;
  if (type === 3) return 'tail -F /var/log/syslog';
  return 'cat STREAM';
}

/** The command lines that send a stream with each client. @param dir the directory's name */
export function clientCommands(
  dir: string,
  { type }: ClientChoice,
  { kind, host, port, certificate }: Target,
): ClientCommand[] {
  const address = `${host}:${port}`;
  const input = inputOf(type, port);
  const bare = host.replace(/^\[|\]$/g, '');
  const trust = certificate?.isSelfSigned
    ? ` --ca ${dir}/${ROOT_FILE}${certificate.names.includes(bare) ? '' : ' --servername localhost'}`
    : '';
  const socat = kind === 'tls' ? `OPENSSL-CONNECT:${address},verify=0` : `TCP:${address}`;
  return [
    {
      name: 'd4gw client',
      text: `${input} | d4gw client -c ${dir} --to ${kind}://${address}${trust}`,
      note: 'Checks the gateway’s certificate, reconnects, and goes on at a record.',
    },
    {
      name: 'C client (d4)',
      text: `${input} | ./d4 -c ${dir} | socat - ${socat}`,
      note: 'From d4-core; socat brings it over the network, here without checking the certificate.',
    },
    {
      name: 'Go client (d4-goclient)',
      text:
        `echo ${address} > ${dir}/destination\n` +
        `${input} | ./d4-goclient -c ${dir}${kind === 'tls' ? '' : ' -ce=false'}`,
      note: 'The first line tells it where the gateway is. It does not check the certificate.',
    },
  ];
}
