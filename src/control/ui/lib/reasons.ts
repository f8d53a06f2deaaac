import type { Reject } from '../../../wire/reject.js';

type Dashed<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}-${Dashed<Tail>}`
  : Lowercase<Name>;
export type Reason = Dashed<keyof typeof Reject>;

/** What was wrong, and what mends it. The type makes sure that none is left out. */
const REASONS: Readonly<Record<Reason, readonly [what: string, mend: string]>> = {
  'bad-version': [
    'The header is not of D4 version 1, or the peer speaks something else.',
    'Look at the detail: TLS on a plain port and HTTP are named there.',
  ],
  'bad-type': [
    'Type 0, an unknown type, or one that this gateway does not accept.',
    'Mend the client’s type file, or add the type to admission.types.',
  ],
  'bad-uuid': [
    'The UUID is not version 4. The C client sends zeros when its file is wrong.',
    'Mend the sensor’s uuid file: 36 characters, no newline.',
  ],
  'too-large': ['A payload over limits.maxPayloadBytes.', 'Lower the sensor’s snaplen.'],
  'uuid-changed': [
    'A connection carries one sensor alone.',
    'Open one connection for each sensor.',
  ],
  'type-changed': [
    'A connection carries one type alone (2, then 254).',
    'Open one connection for each type.',
  ],
  'timestamp-skew': [
    'The frame’s time is further off than admission.timestampSkewSeconds.',
    'Set the sensor’s clock.',
  ],
  'unknown-sensor': [
    'No sensor of this UUID is registered.',
    'Add it, with its UUID and key, or mend the UUID on the client.',
  ],
  'sensor-pending': ['It is registered, and nobody has approved it.', 'Approve or reject it.'],
  'sensor-blocked': ['The sensor is blocked.', 'Unblock it if it should send again.'],
  'address-blocked': ['The address is blocked.', 'Unblock it if it should connect again.'],
  'duplicate-session': [
    'A session of this sensor and type is open, and duplicates are refused.',
    'Stop the other client, or kick its session.',
  ],
  'sensor-removed': [
    'The sensor was removed while it was sending.',
    'Add it again if it is wanted.',
  ],
  'sensor-kicked': [
    'An operator ended its session; it may come back after a while.',
    'Wait for the end of the ban.',
  ],
  'bad-hmac': [
    'A wrong key, or a bit that was changed on the way.',
    'Compare the client’s key file, or rotate the key.',
  ],
  'meta-missing': [
    'Type 254 without a meta header before it.',
    'Send the meta header first, as type 2.',
  ],
  'meta-not-json': ['The meta header is not a JSON object.', 'Mend the client’s metaheader.json.'],
  'meta-no-type': [
    'The meta header has no usable “type”.',
    'Name the meta type in metaheader.json.',
  ],
  'meta-too-long': ['The meta header is over 100,000 bytes.', 'Make it shorter.'],
  'meta-type-not-accepted': [
    'The meta type is not in admission.metaTypes.',
    'Add it to the configuration and reload.',
  ],
  'connection-limit': ['limits.maxConnections are open.', 'Raise the limit, or end idle sensors.'],
  'connection-limit-address': [
    'limits.maxConnectionsPerIp are open from this address.',
    'Raise the limit, or see what this address does.',
  ],
  'handshake-timeout': ['No TLS handshake in time.', 'The peer may not speak TLS, or be too slow.'],
  'handshake-failed': [
    'TLS did not come about.',
    'The detail has the reason: often the certificate.',
  ],
  'first-frame-timeout': ['No whole frame in time.', 'The client connects and sends nothing.'],
  'idle-timeout': [
    'No whole frame for limits.idleTimeoutMs.',
    'The client or its source stands still.',
  ],
  'assembly-budget': [
    'A frame stalled half-way while others needed the memory.',
    'Look at the client’s line, or raise limits.assemblyBytes.',
  ],
  'no-worker': [
    'No worker could take the connection.',
    'See the log: workers are starting or stuck.',
  ],
  'bad-upgrade': ['No valid WebSocket request.', 'The detail says what it sent.'],
  'wrong-path': [
    'A WebSocket elsewhere than at the listener’s path.',
    'Mend the client’s address.',
  ],
  'text-message': ['D4 frames in text messages.', 'Send binary messages.'],
  'bad-websocket': [
    'Bytes that break the WebSocket protocol.',
    'Mend the client, or what is between.',
  ],
  'link-refused': ['A gateway asked for a link without a known token.', 'd4gw link add makes one.'],
  'relay-loop': [
    'A link brings back what came from here.',
    'Take it out of what that gateway relays.',
  ],
};

/** Undefined for a reason that a newer gateway may have. */
export function reasonText(reason: string): { what: string; mend: string } | undefined {
  const found = (REASONS as Record<string, readonly [string, string]>)[reason];
  return found && { what: found[0], mend: found[1] };
}
