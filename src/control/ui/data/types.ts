import type { z } from 'zod';
import type { certificate } from '../../api/certificates.js';
import type { file } from '../../api/files.js';
import type { alerts, auditEntry, ledger, series, version } from '../../api/gateway.js';
import type { pastAnswer } from '../../api/history.js';
import type { rejectEntry } from '../../api/peers.js';
import type * as schemas from '../../api/schemas.js';
import type { withKey } from '../../api/sensors.js';

/** What the API answers: the types of the schemas that its requests and tests are held against. */
export type { Overview } from '../../api/schemas.js';
export type Sensor = z.output<typeof schemas.sensor>;
export type SensorState = z.output<typeof schemas.sensorState>;
export type Session = z.output<typeof schemas.session>;
export type Sink = z.output<typeof schemas.sink>;
export type Alert = z.output<typeof schemas.alert>;
export type Role = z.output<typeof schemas.role>;
export type Token = z.output<typeof schemas.token>;
export type Series = z.output<typeof series>;
export type Version = z.output<typeof version>;
export type Alerts = z.output<typeof alerts>;
export type AuditEntry = z.output<typeof auditEntry>;
export type Ledger = z.output<typeof ledger>;
export type History = z.output<typeof pastAnswer>;
export type RejectEntry = z.output<typeof rejectEntry>;
export type StoredFile = z.output<typeof file>;
export type Certificate = z.output<typeof certificate>;
export type WithKey = z.output<typeof withKey>;

export interface Who {
  name: string;
  role: Role;
  csrfToken: string | null;
  expiresAt: string | null;
}
export interface SensorPage {
  total: number;
  offset: number;
  sensors: Sensor[];
}
export interface SessionPage {
  total: number;
  offset: number;
  sessions: Session[];
}
export interface RejectPage {
  total: number;
  offset: number;
  rejects: RejectEntry[];
}
export interface FilePage {
  total: number;
  offset: number;
  isComplete: boolean;
  files: StoredFile[];
}
export interface BlockedAddress {
  address: string;
  since: string;
}
export interface Ban {
  sensor: string;
  type: number;
  until: string;
}
export interface Group {
  name: string;
  sensors: number;
}
