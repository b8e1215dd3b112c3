import { h, show } from "./dom";
import type { Session } from "./session";

/** Files that are dropped anywhere on the element; what covers it meanwhile says so. */
export function takesDrops(element: HTMLElement, session: Session): HTMLElement {
  const cover = h("div", { class: "kdb-drop", hidden: true, "aria-hidden": "true" }, h("p", {}, "Drop the image to explain it"));
  // Entering a child comes before leaving its parent: only when as many were left as entered nothing is over the page.
  let depth = 0;
  const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  element.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    show(cover, true);
  });
  element.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  element.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) show(cover, false);
  });
  element.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(cover, false);
    const file = event.dataTransfer?.files[0];
    if (file !== undefined) void session.upload(file);
  });
  return cover;
}
