"""What every page has in common: navigation, sidebar, notices. Light: no torch, no classifier."""

from collections.abc import Callable, Sequence
from importlib import import_module

import streamlit as st

from mixviz.ui import pictures, state
from mixviz.ui.state import Field

HOME = "app.py"
PUZZLE_MIX = "pages/1_Puzzle_Mix.py"
GUIDED_MIXUP = "pages/2_GuidedMixup.py"
R_MIX = "pages/3_R_Mix.py"
COMPARE = "pages/4_Compare.py"
FIGURE_2 = "pages/5_Figure_2.py"
JUDGE = "pages/6_Train_and_judge.py"
PAGES = {
    HOME: "Mix",
    PUZZLE_MIX: "Puzzle Mix",
    GUIDED_MIXUP: "GuidedMixup",
    R_MIX: "R-Mix",
    COMPARE: "Compare",
    FIGURE_2: "Figure 2",
    JUDGE: "Train & judge",
}

STYLE = """
<style>
.mv-title {font-size: 28px; line-height: 36px; font-weight: 600; padding: 0; margin: 0}
.mv-title span {font-size: 16px; line-height: 24px; font-weight: 400; opacity: .8;
  display: inline-block; margin-right: 12px}
.stMainBlockContainer {padding: 1rem 2rem 3rem; max-width: 1240px}
@media (max-width: 640px) {.stMainBlockContainer {padding: 1rem 1rem 3rem}}
.stAppHeader {background: transparent; height: 2.25rem; pointer-events: none}
.stAppHeader div {pointer-events: none}
.stAppHeader button, .stAppHeader a {pointer-events: auto}
[data-testid="stSidebarHeader"] {height: 2rem; padding-bottom: 0; margin-bottom: 0}
[data-testid="stSidebarUserContent"] {padding-top: 0}
[data-testid="stSidebar"] [data-testid="stVerticalBlock"] {gap: .55rem}
:is([data-testid="stSidebar"], .st-key-joint-knobs) [class*="-paper"] {
  margin-top: -1.9rem}
:is([data-testid="stSidebar"], .st-key-joint-knobs) [class*="-paper"] button {
  min-height: 1.3rem; padding: 0;
  font-size: .875rem}
@media (max-width: 640px) {.st-key-nav {padding: 0 2.5rem 0 2.75rem; gap: 0 .25rem}
  .st-key-nav a {padding: .1rem .35rem}}
[data-testid="stSidebar"] [data-testid="stExpander"] [data-testid="stButtonGroup"] button {
  padding: 0 .55rem; min-width: 0}
.mv-thumb {border: 3px solid #0072B2; border-radius: 4px; padding: 2px; position: relative}
.mv-thumb.mv-b {border: 3px dashed #D55E00}
.mv-thumb img {width: 100%; display: block}
.mv-thumb::after {content: "A"; position: absolute; left: 4px; bottom: 4px; background: #0072B2;
  color: #fff; font: 600 14px/22px "Source Sans", sans-serif; width: 22px; text-align: center;
  border-radius: 11px}
.mv-thumb.mv-b::after {content: "B"; background: #D55E00; color: #14110e; border-radius: 3px}
.mv-tag {display: inline-block; font-weight: 600; font-size: 14px; line-height: 20px; width: 20px;
  text-align: center; border-radius: 10px; background: #0072B2; color: #fff}
.mv-tag.mv-b {background: #D55E00; color: #14110e; border-radius: 3px}
.mv-panels {display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px}
.mv-panels figure {margin: 0}
.mv-panels img {width: 100%; display: block; border-radius: 2px}
.mv-panels figcaption {font-size: 14px; line-height: 20px; margin-bottom: 4px;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis}
.mv-panels .mv-pixel {image-rendering: pixelated}
.mv-frame-a img {outline: 3px solid #0072B2}
.mv-frame-b img {outline: 3px dashed #D55E00}
.mv-guess {display: grid; gap: 2px 8px;
  grid-template-columns: minmax(5.5rem, 1fr) minmax(0, 4.5rem) 3.2rem;
  font-size: 14px; line-height: 20px; align-items: center; font-variant-numeric: tabular-nums}
.stMainBlockContainer h3 {font-size: 18px; line-height: 26px; padding: .5rem 0 .25rem}
.mv-tag {vertical-align: 1px}
.mv-guess .mv-tag {line-height: 18px; height: 18px; width: 18px; vertical-align: top;
  margin-top: 1px}
.mv-guess span {overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.mv-guess i {display: block; height: 10px; background: #8A93A0}
.mv-guess b {font-weight: 400; text-align: right}
.mv-features {display: grid; gap: 6px; font-size: 14px; line-height: 20px; align-items: center;
  grid-template-columns: 2.2rem repeat(var(--columns), minmax(0, 1fr)); margin-bottom: 6px}
.mv-features img {width: 100%; display: block; image-rendering: pixelated}
.mv-features span {overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.mv-features .mv-tag {overflow: visible}
.mv-head {font-weight: 600; font-size: 16px; line-height: 24px; margin-bottom: 4px}
.mv-remark {margin-top: 4px; min-height: 20px}
.mv-small {font-size: 14px; line-height: 20px; opacity: .8}
.mv-weights {display: flex; height: 26px; font-size: 14px; line-height: 26px; font-weight: 600}
.mv-weights > * {overflow: hidden; padding: 0 6px; white-space: nowrap; min-width: 0}
.mv-weights .a {background: #0072B2; color: #fff}
.mv-weights .b {background: #D55E00; color: #14110e; text-align: right}
</style>
"""


class Page:
    """An opened page: its file, which names it in the navigation, and all its URL carries."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.fields: list[Field] = []
        self._came_anew = state.is_new_url(file)

    def take(self, fields: Sequence[Field]) -> None:
        """Read these fields from the URL, where it is new."""
        self.fields.extend(fields)
        if self._came_anew:
            state.take(self.file, fields)
        state.sync(fields)

    def take_last(self, fields: Sequence[Field]) -> None:
        """Read the last fields; whatever else the URL holds is unknown to this page."""
        self.take(fields)
        if self._came_anew:
            state.ignore_unknown(self.fields)

    def finish(self) -> None:
        """Let the URL say what the page shows; call at the end."""
        state.write_url(self.file, self.fields)


def open_page(file: str, title: str, words: str) -> Page:
    """Open a page: title, navigation, and the head of the sidebar."""
    st.set_page_config(
        page_title="mixviz" if file == HOME else f"{title} · mixviz",
        layout="wide",
        initial_sidebar_state=288,
    )
    st.html(STYLE)
    page = Page(file)
    page.take(pictures.FIELDS)
    with st.container(horizontal=True, gap="medium", key="nav"):
        shared = state.changed(pictures.FIELDS)
        for other, name in PAGES.items():
            st.page_link(other, label=name, query_params=shared)
    st.html(f'<h1 class="mv-title">{title}&ensp;<span>{words}</span></h1>')
    with (
        st.sidebar,
        st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
        ),
    ):
        st.markdown("**mixviz**")
        st.button("Reset all", key="reset", type="tertiary", on_click=_reset, args=(page,))
    return page


def run(
    file: str,
    title: str,
    words: str,
    body: str,
    sidebar: Callable[[], None] = pictures.ask,
) -> None:
    """Draw a whole page.

    Args:
        file: the page's own file.
        title: its heading.
        words: one sentence beside it.
        body: the module with `fields()` and `show(page)` of this page. It is imported by name,
            after the title and the pictures have been sent: loading torch takes a second or two.
        sidebar: draws what of the sidebar needs no torch; the choice of a pair unless given.
    """
    page = open_page(file, title, words)
    with st.sidebar:
        sidebar()
    notices = st.container()
    # Plotly looks for pandas among what is loaded, and breaks on one that another visitor's
    # thread is just loading for the first table.
    import_module("pandas")
    module = import_module(body)
    page.take_last(module.fields())
    module.show(page)
    with notices:
        show_notices()


def _reset(page: Page) -> None:
    state.reset(page.fields)


def show_notices() -> None:
    """Show what went wrong until it is dismissed."""
    sentences: list[str] = st.session_state.get("notices", [])
    for index, sentence in enumerate(list(sentences)):
        with st.container(horizontal=True, key=f"notice-{index}"):
            st.warning(sentence)
            st.button(
                "Dismiss", key=f"dismiss-{index}", on_click=sentences.remove, args=(sentence,)
            )
