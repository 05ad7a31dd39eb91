// Copy the code beside the button. If the browser denies access to the clipboard, select the code instead.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const code = document.getElementById(button.dataset.of);
  const whole = document.createRange();
  whole.selectNodeContents(code);
  const selection = getSelection();
  let copied = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    selection.removeAllRanges();
    selection.addRange(whole);
    copied = document.execCommand("copy");
  }
  button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
  clearTimeout(button.again);
  button.again = setTimeout(() => (button.textContent = "Copy"), 2000);
});
