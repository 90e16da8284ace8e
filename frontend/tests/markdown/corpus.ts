// Texts for the tests of the Markdown renderer.

/** Texts that try to run code, to send a request, or to lead to an address with another scheme. */
export const HOSTILE = [
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '<svg onload=alert(1)>',
    '<svg><script href="data:,alert(1)" />',
    '<math><mi xlink:href="javascript:alert(1)">x</mi></math>',
    '<iframe src="javascript:alert(1)"></iframe>',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<object data="data:text/html,<script>alert(1)</script>">',
    '<embed src="https://evil.example/x.swf">',
    '<link rel=stylesheet href=https://evil.example/x.css>',
    '<style>@import "https://evil.example/x.css";</style>',
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<form action="https://evil.example"><input name=password></form>',
    '<video src="https://evil.example/x.mp4" autoplay></video>',
    '<a href="javascript:alert(1)">x</a>',
    '<details open ontoggle=alert(1)>',
    '<template><img src=x onerror=alert(1)></template>',
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>',
    '<!--><img src=x onerror=alert(1)>-->',
    '&lt;img src=x onerror=alert(1)&gt; &#60;script&#62;alert(1)&#60;/script&#62;',
    '[x](javascript:alert(1))',
    '[x](JaVaScRiPt:alert(1))',
    '[x](java\tscript:alert(1))',
    '[x](java&#10;script:alert(1))',
    '[x](&#106;avascript:alert(1))',
    '[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;alert(1))',
    '[x](\u0001javascript:alert(1))',
    '[x](javascript&colon;alert(1))',
    '[x](<javascript:alert(1)>)',
    '[x](vbscript:msgbox(1))',
    '[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)',
    '[x](data:image/svg+xml,<svg onload=alert(1)>)',
    '[x](file:///etc/passwd)',
    '[x](blob:https://example.com/1)',
    '[x](//evil.example/x)',
    '[x](/api/v1/auth/logout)',
    '[x](ftp://evil.example)',
    '[x](intent://evil#Intent;scheme=http;end)',
    '[x]: javascript:alert(1)\n\n[x]',
    '[x]: data:text/html,1 "title"\n\n[x][x] ![x][x]',
    '<javascript:alert(1)> <data:text/html,x> <vbscript:x>',
    '[x](https://a.example/"onmouseover="alert(1))',
    '[x](https://a.example "title\\" onmouseover=\\"alert(1)")',
    "[x](https://a.example '\"><img src=x onerror=alert(1)>')",
    '![x](https://evil.example/pixel.png)',
    '![x](https://evil.example/pixel.png "\\" onload=\\"alert(1)")',
    '![<img src=x onerror=alert(1)>](https://evil.example/p.png)',
    '![x](javascript:alert(1))',
    '![x](data:image/svg+xml;base64,PHN2Zz4=)',
    '[![x](https://evil.example/p.png)](https://evil.example/)',
    '[![x](https://evil.example/p.png)](javascript:alert(1))',
    '![![x](https://evil.example/a)](https://evil.example/b)',
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    '```python" onmouseover="alert(1)\ncode\n```',
    '```__proto__\nx\n```\n\n```constructor\nx\n```\n\n```toString\nx\n```',
    '```html\n<img src=x onerror=alert(1)></code></pre><script>alert(1)</script>\n```',
    '    <script>alert(1)</script>',
    '`<script>alert(1)</script>`',
    '| <img src=x onerror=alert(1)> | b |\n|---|---|\n| [x](javascript:alert(1)) | ![x](https://evil.example/p) |',
    '- [x] <img src=x onerror=alert(1)>\n- [ ] [x](javascript:alert(1))',
    '# <script>alert(1)</script>',
    '> <iframe src=//evil.example>',
    '$\\href{javascript:alert(1)}{x}$',
    '$\\url{javascript:alert(1)}$',
    '$\\includegraphics{https://evil.example/p.png}$',
    '$\\htmlData{a=b}{x} \\htmlClass{x}{y} \\htmlId{content}{z} \\htmlStyle{background:url(//evil.example)}{w}$',
    '$$\\def\\a{\\a\\a}\\a$$',
    '$$\\text{<img src=x onerror=alert(1)>}$$',
    '$</math><img src=x onerror=alert(1)>$',
    '$$\\unicode{</annotation><script>alert(1)</script>}$$',
    '\\(\\href{javascript:alert(1)}{x}\\) \\[\\text{</span><script>alert(1)</script>}\\]',
    'https://a.example/<script>alert(1)</script>',
    'https://a.example/"onmouseover=alert(1)',
    'javascript:alert(1) data:text/html,x //evil.example ftp://evil.example',
    'mailto:a@b.example?subject="><script>alert(1)</script>',
    '\u0000<\u0000script>alert(1)</script>',
    '<scr\u0000ipt>alert(1)</scr\u0000ipt>',
    '\uD800<script>alert(1)</script>\uDFFF',
]

/** An ordinary answer with every element. */
export const ANSWER = `# Title

First paragraph with **bold**, *emphasis*, ~~old~~, \`code\` and https://example.com/a?b=c#d.
Second line [link][ref], and an [inline link](https://example.org "title").

Setext
------

- one
- two
  - nested

    with a paragraph
- three

1. first

   \`\`\`bash
   npm install
   \`\`\`
2. second

- [x] done
- [ ] not done

> A quote
continued lazily
> > nested

| Name | Value |
|:-----|------:|
| a    | 1     |
| b \\| c | 2   |

\`\`\`python
def f(x):
    # not a heading

    return x - 1
\`\`\`

    indented code

Inline $x^2$ and \\(y_1\\), costs $5 and $10.

$$
\\int_0^1 x\\,dx
$$

\\[
a
= b
\\]

***

![picture](https://example.com/p.png)

Arabic: مرحبا بالعالم. Emoji: 👩‍👩‍👧. Entity: &amp; &copy;

a | b
--|--
1 | 2

[ref]: https://example.net/target

Last line`
