import { Title } from '../parts/basics.js';

export function Relays() {
  return <Title text="Relays" />;
}
