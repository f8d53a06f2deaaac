import { Title } from '../parts/basics.js';

export function Alerts() {
  return <Title text="Alerts" />;
}
