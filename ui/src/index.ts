/** The page as one widget, by anywidget's contract: in notebooks, and in the page of `kdb ui`. */

import "./style/kdb.css";
import type { AnyModel } from "./protocol";
import { shell } from "./shell";

function render({ model, el }: { model: AnyModel; el: HTMLElement }): () => void {
  return shell(model, el);
}

export default { render };
