// Renders the equations of a page with KaTeX: code between dollar signs (inline) and `math` code
// blocks (display). The same two forms that docs/tool renders ahead of time; a page that was
// rendered there has none left.
(function () {
  "use strict";

  function render(tex, target, displayMode) {
    var span = document.createElement(displayMode ? "div" : "span");
    katex.render(tex, span, { displayMode: displayMode, throwOnError: false });
    target.replaceWith(span);
  }

  function run() {
    document.querySelectorAll("pre.language-math > code, pre > code.language-math").forEach(function (code) {
      render(code.textContent, code.parentElement, true);
    });
    document.querySelectorAll("code").forEach(function (code) {
      var before = code.previousSibling;
      var after = code.nextSibling;
      if (!before || !after || before.nodeType !== Node.TEXT_NODE || after.nodeType !== Node.TEXT_NODE) return;
      if (!before.data.endsWith("$") || !after.data.startsWith("$")) return;
      before.data = before.data.slice(0, -1);
      after.data = after.data.slice(1);
      render(code.textContent, code, false);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
  else run();
})();
