import { z } from 'zod';
import { metaType, sensor, typeList } from './d4-fields.js';
import { bytes, flag, integer, listOrStar, oneOf, path, section, text, wrong } from './fields.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 ** 4;
const DAY_MS = 86_400_000;

/** TLP tags with which a stream leaves unless the operator says otherwise: never `tlp:red`. */
export const DEFAULT_TLP: readonly string[] = ['tlp:white', 'tlp:clear', 'tlp:green', 'tlp:amber'];

const TLP_EXPECTED = 'a TLP tag such as tlp:green';
const tlpTag = text(/^tlp:[a-z][a-z+]*$/, TLP_EXPECTED);

const spool = section({
  dir: path("the spool's directory")
    .optional()
    .describe('Directory of the spool; default: spool/NAME under dataDir.'),
  maxBytes: bytes(16 * MIB, 1024 * TIB)
    .default(10 * GIB)
    .describe('Bytes that wait for the upstream at most, over all workers.'),
  memoryBytes: bytes(MIB, 64 * GIB)
    .default(64 * MIB)
    .describe('Of these, kept in memory too, over all workers.'),
  onFull: oneOf(['block', 'drop-oldest'])
    .default('block')
    .describe(
      'block: its sensors are held back. drop-oldest: the oldest is given up, and counted.',
    ),
});

/** A relay to a D4 server, or by a link to another gateway. */
export const relaySink = section({
  kind: z.literal('relay'),
  to: text(
    /^(tls|tcp|wss):\/\/\S+$/,
    'tls://HOST:PORT, tcp://HOST:PORT or wss://HOST:PORT',
  ).describe(
    'A D4 server: tls://HOST:PORT or tcp://HOST:PORT; another d4gw gateway: wss://HOST:PORT.',
  ),
  tokenFile: path('the link token')
    .optional()
    .describe('With wss: the file with the token that `d4gw link add` printed there.'),
  windowBytes: bytes(MIB, GIB)
    .default(64 * MIB)
    .describe('With wss: bytes that may be sent and not acknowledged, for each worker.'),
  compress: oneOf(['none', 'lz4'])
    .default('none')
    .describe('With wss: whether batches are compressed, where that makes them smaller.'),
  caFile: path("the authorities' certificates, PEM")
    .optional()
    .describe("Certificates that the server's is verified against, PEM; default: the system's."),
  certFile: path('the client certificate, PEM').optional().describe('Client certificate, PEM.'),
  keyFile: path('the private key, PEM').optional().describe('Private key of certFile, PEM.'),
  servername: text(/^[A-Za-z0-9.-]{1,253}$/, 'a host name')
    .optional()
    .describe('Name to ask for and to verify, if not that of the address.'),
  verify: flag().default(true).describe("Whether the server's certificate is verified."),
  mode: oneOf(['preserve', 'resign'])
    .default('preserve')
    .describe(
      'preserve: frames go on as their sensors signed them. resign: under pseudonyms, signed with ' +
        "the relay's key.",
    ),
  secretFile: path('the secret of the pseudonyms')
    .optional()
    .describe('With resign: pseudonyms follow from it; made if missing.'),
  signingKeyFile: path('the key that signs')
    .optional()
    .describe('With resign: the HMAC key of all pseudonyms; made if missing.'),
  types: typeList
    .min(1, { error: () => 'empty lets nothing leave; leave it out to let every type' })
    .optional()
    .describe('D4 types that leave; without it, all.'),
  sensors: listOrStar(sensor, "sensors' UUIDs")
    .optional()
    .describe("Sensors whose streams leave; without it, or with '*', all."),
  metaTypes: listOrStar(metaType, 'meta types')
    .optional()
    .describe('Meta types that leave, of type 254; without it, all.'),
  tlp: z
    .array(tlpTag, { error: ({ input }) => wrong(input, 'a list of TLP tags such as tlp:green') })
    .default([...DEFAULT_TLP])
    .describe('TLP tags (of the meta header) with which a stream leaves.'),
  maxConnections: integer(1, 65_535)
    .default(1_024)
    .describe('Connections to the server at once, over all workers; more streams take turns.'),
  idleCloseMs: integer(0, DAY_MS, 'ms')
    .default(600_000)
    .describe('Time without data after which a connection is ended; 0: never.'),
  resendWindowBytes: bytes(0, GIB)
    .default(MIB)
    .describe('Sent again when a connection breaks: what the kernel may have held of it.'),
  spool: spool.prefault({}).describe('What waits for the server.'),
});

export type RelaySinkConfig = z.output<typeof relaySink>;
