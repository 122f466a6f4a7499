// Where people sign in.

import { Lost, signIn } from "./api.js";
import { h, put } from "./dom.js";
import { command } from "./parts.js";

export function signInPage(done, why) {
  const trouble = h("p", { class: "trouble", role: "alert", id: "trouble", text: why || "" });
  const input = h("input", {
    type: "password",
    name: "token",
    id: "token",
    required: true,
    maxlength: "200",
    autocomplete: "current-password",
    spellcheck: "false",
    placeholder: "burrow_…",
    "aria-describedby": "trouble",
    autofocus: true,
  });
  const send = h("button", { type: "submit", class: "primary", text: "Sign in" });
  const form = h(
    "form",
    {
      submit: async (event) => {
        event.preventDefault();
        send.disabled = true;
        put(trouble, "");
        try {
          await signIn(input.value.trim());
          done();
        } catch (error) {
          put(trouble, error instanceof Lost ? "The server does not answer: try again." : error.message);
          send.disabled = false;
          input.select();
        }
      },
    },
    h("label", { for: "token", text: "Token" }),
    input,
    send,
    trouble,
  );
  const element = h(
    "main",
    { class: "center", id: "main" },
    h(
      "div",
      { class: "card signin" },
      h("img", { src: "/_burrow/dashboard/icon.svg", alt: "", width: "44", height: "44" }),
      h("h1", { text: "Burrow" }),
      h("p", { class: "muted", text: location.host }),
      form,
      h("details", {}, h("summary", { text: "I have no token" }), h("p", { text: "Whoever runs this server makes one for you:" }), command("burrow token create NAME --role viewer")),
    ),
  );
  return { element, focus: () => input.focus() };
}
