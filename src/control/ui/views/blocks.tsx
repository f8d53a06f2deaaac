import { Title } from '../parts/basics.js';

export function Blocks() {
  return <Title text="Blocks" />;
}
