import { h } from "../dom";
import { combobox } from "../parts/combobox";
import type { Panel } from "../parts/field";

export const model: Panel = (session) => {
  const box = combobox({
    label: "Models",
    testid: "model",
    free: true,
    placeholder: "The name of a model",
    choices: () =>
      (session.store.state.welcome?.models ?? []).map(({ name, from, input }) => ({
        value: name,
        text: name,
        // What keeps a model from being used at once matters more than its size.
        hint: from.startsWith("needs") ? from : [from, input].filter(Boolean).join(", "),
      })),
    chosen: (value) => session.change({ control: "model", value }),
  });
  session.store.watch(["form"], ({ form }) => box.set(form?.model ?? ""));
  session.store.watch(["modelRefused"], ({ modelRefused }) => box.refuse(modelRefused));
  return h("div", { class: "kdb-field" }, h("label", { for: box.input.id, class: "kdb-label" }, "Model"), box.element);
};
