// Asks for the token. Whether it is good is found out by the next call.

import { alertBox, element, field } from "./elements.js";
import { canBeToken, keepToken } from "./token.js";

export function showSignIn(place, reason, onToken) {
  const box = alertBox();
  const input = element("input", {
    type: "password", name: "token", required: true, autocomplete: "off", spellcheck: "false",
  });
  const onsubmit = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!canBeToken(text)) {
      box.replaceChildren("A token has no blanks and no letters outside ASCII.");
      return;
    }
    keepToken(text);
    onToken();
  };
  const hint = "api.operator_token or api.viewer_token of the configuration. It is kept until this tab is closed.";
  place.replaceChildren(
    element("h1", {}, "Sign in"),
    element("form", { onsubmit, class: "narrow" },
      reason && element("p", {}, reason), field("Token", input, hint), box, element("button", {}, "Sign in")),
  );
  input.focus();
}
