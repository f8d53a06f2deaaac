import { Title } from '../parts/basics.js';

export function Pending() {
  return <Title text="Pending" />;
}
