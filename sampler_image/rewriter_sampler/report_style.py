"""The style sheet of the gate's page (report_page.py): light and dark, system fonts, nothing to fetch."""

from typing import Final

STYLE: Final = """
:root{--ink:#1b1f24;--soft:#5b6570;--line:#dfe3e8;--page:#f6f7f9;--card:#fff;--pass:#1a7f4b;--fail:#c0352b;
  --unknown:#9a6700;--accent:#2f5fd0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4af;--line:#30363d;--page:#0f1216;--card:#181c22;
  --pass:#4cc38a;--fail:#ff7b72;--unknown:#e0a93b;--accent:#7aa2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:24px;margin:0;font-weight:650}
h2{font-size:17px;margin:34px 0 10px;font-weight:650}
p{margin:6px 0}
.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px}
.banner{border-left:6px solid var(--edge)}
.banner.pass{--edge:var(--pass)}
.banner.fail{--edge:var(--fail)}
.banner.inconclusive{--edge:var(--unknown)}
.banner .reason{font-size:16px;margin-top:10px}
.facts{display:flex;flex-wrap:wrap;gap:6px 28px;margin-top:12px;color:var(--soft);font-size:13.5px}
.facts b{color:var(--ink);font-weight:600}
.chip{display:inline-block;padding:1px 9px;border-radius:99px;font-size:12.5px;font-weight:600;
  border:1px solid currentColor;white-space:nowrap}
.chip.pass{color:var(--pass)}
.chip.fail{color:var(--fail)}
.chip.inconclusive{color:var(--unknown)}
.chip.muted{color:var(--soft)}
h1 .chip{font-size:15px;padding:2px 14px;margin-left:10px;vertical-align:3px}
.wide{overflow-x:auto;padding:4px 0}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;font-weight:600;color:var(--soft);font-size:12.5px}
th,td{padding:8px 10px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td .message{color:var(--soft);font-size:12.5px;overflow-wrap:anywhere}
td.text{overflow-wrap:anywhere;min-width:190px}
ol.results{margin:2px 0 0;padding-left:18px;font-size:12.5px;color:var(--soft)}
ol.results .liked{color:var(--pass)}
.up{color:var(--pass)}
.down{color:var(--fail)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:16px}
svg.plot{width:100%;height:auto;display:block}
svg text{font:11.5px system-ui,"DejaVu Sans",sans-serif;fill:var(--soft)}
svg .label{font-size:12.5px}
svg .axis{stroke:var(--line);stroke-width:1}
svg .zero{stroke:var(--soft);stroke-width:1}
svg .limit{stroke:var(--fail);stroke-width:1.5;stroke-dasharray:3 2}
svg.interval{display:block}
svg .curve{fill:none;stroke:var(--edge);stroke-width:2}
svg .span{stroke:var(--edge);stroke-width:4;stroke-linecap:round;opacity:.45}
svg.interval .dot{fill:var(--edge)}
svg.pass{--edge:var(--pass)}
svg.fail{--edge:var(--fail)}
svg.inconclusive{--edge:var(--unknown)}
svg .corner{fill:var(--fail);opacity:.07}
svg .note{fill:var(--fail);opacity:.85}
svg .dot.better{fill:var(--pass)}
svg .dot.worse{fill:var(--unknown)}
svg .dot.hacked{fill:var(--fail)}
svg .dot.same{fill:var(--soft)}
svg.plot .dot{opacity:.72}
svg .gain{fill:var(--pass);opacity:.8}
svg .loss{fill:var(--fail);opacity:.8}
code{font:12.5px ui-monospace,"SF Mono",Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 18px;margin:0;font-size:13.5px}
dt{color:var(--soft)}
dd{margin:0}
"""
