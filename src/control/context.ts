import type { Alerts } from '../alerts/alerts.js';
import type { HistoryStore } from '../history/store.js';
import type { FlowMeter } from '../stats/flow-meter.js';
import type { Gate } from './auth/gate.js';
import type { ControlledGateway } from './gateway.js';
import type { Metrics } from './metrics.js';
import type { OverviewFeed } from './overview.js';
import type { SensorIndex } from './sensor-index.js';

/** All that the API's routes are made with. */
export interface ControlContext {
  readonly gateway: ControlledGateway;
  readonly gate: Gate;
  readonly alerts: Alerts;
  readonly meter: FlowMeter;
  readonly sensors: SensorIndex;
  readonly overview: OverviewFeed;
  readonly history: HistoryStore;
  readonly metrics: Metrics;
}
