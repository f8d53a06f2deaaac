import { Title } from '../parts/basics.js';

export function Audit() {
  return <Title text="Audit" />;
}
