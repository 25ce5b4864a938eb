# SPDX-License-Identifier: MIT
"""Small templates that touch everything the engine knows, for
tests/parity/chat.py: what jinja2 makes of them is tests/golden/jinja.json."""

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi <b>there</b> & you"},
                 {"role": "assistant", "content": "naïve 日本 🙂\nline two"}],
    "n": 7, "big": 9007199254740993, "f": 2.5, "z": 0, "neg": -7,
    "t": True, "no": None, "empty": "", "s": "Hello World", "u": "Straße ÀÉ",
    "pad": "  \t x y \n ", "l": [3, 1, 2, 3], "names": ["bob", "Al", "cy"],
    "d": {"b": 1, "a": {"c": [1, {"k": "v"}]}, "items": 5, "Z": None},
    "floats": [0.1, 1e16, 1e-5, 123456789.125, 1.0, 1e22, 5e-324, 1e15],
    "people": [{"name": "Bob", "age": 3, "x": {"y": 1}},
               {"name": "al", "age": 1}, {"name": "Cy", "age": 3}],
    "q": "it's \"q\" \\ \n\t\x01 \u200b é", "multi": "a\n\nb\n  c\n",
}

EXPRESSIONS = r"""
1 + 2 * 3 ** 2 // 4 % 5
-7 // 2
-7 % 3
7 % -3
-7.5 // 2
7.5 % -2
2 ** -1
2 ** 0.5
7 / 2
6 / 2
10 ** 18
1e3 + 1
0.1 + 0.2
floats
floats[1] ~ floats[2]
1_000 + 0x1F + 0b11 + 0o17
true + 1
n == 7.0
1 < 2 < 3
1 < 2 > 5
'a' < 'b'
'B' < 'a'
[1, 2] < [1, 3]
(1,) == [1]
1 in l
'ell' in s
'b' in d
4 not in l
not z
not s
s and n
empty or 'other'
no or z
undefinedname
undefinedname is defined
undefinedname.x
undefinedname == undefinedname2
undefinedname or 'x'
[undefinedname]
undefinedname|length
undefinedname|list
'x' in undefinedname
undefinedname + 1
'a' ~ undefinedname ~ 'b'
s.nothing
s.nothing.more
d.a.c[1].k
d['a']['c'][0]
d.items
d.items()
d.keys()
d.values()
d['items']
d.b
d.get('b')
d.get('x')
d.get('x', 3)
d.copy()
l[0]
l[-1]
l[9]
l[1:3]
l[::-1]
l[:-1]
l[10:]
l['a']
s[0]
s[-3:]
s[::2]
u[1:4]
u[::-1]
s[20]
(1, 2, 3)[1]
(1, 2)[::-1]
range(5)
range(2, 10, 3)|list
range(5)[2]
range(10)[2:8:2]
range(3)|reverse|list
range(0)
l + [4]
l * 2
'ab' * 3
3 * [1]
[1] + (2,)
'a' + 1
{'a': 1, 2: 'x', none: 1.5, true: []}
{'a': 1}|tojson
q
[q]
{'k': q}
q|tojson
d|tojson
d|tojson(indent=2)
d|tojson(indent=4, sort_keys=true)
d|tojson(separators=(',', ':'))
u|tojson(ensure_ascii=true)
messages|tojson
messages[1].content|tojson(ensure_ascii=true)
floats|tojson
[]|tojson(indent=2)
{}|tojson(indent=2)
(1, 2)|tojson
d.items()|tojson
undefinedname|tojson
[true, none, 1.0]|tojson(indent=1)
s|upper
u|upper
u|lower
u|title
'hello-world (foo) [bar] {baz} x_y'|title
"it's o'neil"|title
u|capitalize
'ΑΣ ΟΔΟΣ'|lower
pad|trim
pad|trim|length
'xxaxx'|trim('x')
s|replace('o', '0')
s|replace('o', '0', 1)
'aaa'|replace('', '-')
s|length
u|length
'日本🙂'|length
d|length
s|count
s|list
d|list
l|sort
l|sort(reverse=true)
names|sort
names|sort(case_sensitive=true)
people|sort(attribute='age')
people|sort(attribute='age,name')
people|sort(attribute='name', reverse=true)
l|unique|list
names|unique|list
l|min
l|max
l|sum
people|sum(attribute='age')
people|max(attribute='age')
[]|max
l|first
l|last
[]|first
s|first
s|last
s|reverse
l|reverse|list
names|join(', ')
people|join('-', attribute='name')
[1, none, true]|join
l|batch(3)|list
l|batch(3, 'x')|list
l|slice(3)|list
l|slice(3, 'x')|list
people|groupby('age')
people|groupby('age')|map(attribute='grouper')|list
people|groupby('age')|map('last')|list
people|map(attribute='name')|list
people|map(attribute='x.y')|list
people|map(attribute='x.y', default='-')|list
names|map('upper')|list
names|map('replace', 'b', 'X')|list
names|map('nosuch')|list
names|map('nosuch')
people|selectattr('x')|list
people|selectattr('age', 'equalto', 3)|list
people|selectattr('age', '==', 3)|map(attribute='name')|join(',')
people|rejectattr('age', 'gt', 2)|list
people|selectattr('name', 'in', ['Bob', 'Cy'])|list
l|select('odd')|list
l|reject('odd')|list
l|select|list
l|select('greaterthan', 1)|first
l|select('odd')|length
l|select('odd')|list|length
d|dictsort
{'b': 2, 'A': 3, 'c': 1}|dictsort
{'b': 2, 'A': 3, 'c': 1}|dictsort(true)
{'b': 2, 'A': 3, 'c': 1}|dictsort(by='value')
{'b': 2, 'A': 3, 'c': 1}|dictsort(false, 'key', true)
d|items|list
undefinedname|items|list
l|items|list
no|default('x')
undefinedname|default('x')
undefinedname|d
empty|default('x', true)
no|default('x', boolean=true)
f|int
'42'|int
' 42 '|int
'4x'|int
'4x'|int(7)
'42.9'|int
'0x1f'|int(base=16)
'1_000'|int
no|int
undefinedname|int
'3.5'|float
'abc'|float
'1e3'|float
n|float
f|round
2.675|round(2)
2.5|round
3.5|round
7|round
1234|round(-2)
42.55|round(1, 'floor')
42.51|round(1, 'ceil')
neg|abs
(-2.5)|abs
n|string
f|string ~ 'x'
no|string
l|string
s|center(20)
'x'|center(4)
multi|indent
multi|indent(2, true)
multi|indent('> ', blank=true)
multi|indent(width=3, first=true, blank=true)
'a b c d e f'|truncate(7)
'a b c d e f g h i j k'|truncate(10)
'a b c d e f g h i j k'|truncate(10, true)
'a b c d e f g h i j k'|truncate(10, false, '')
'abcdefghijklmno'|truncate(8, leeway=0)
'one two, three'|wordcount
'a b&c/d é'|urlencode
{'a b': 1, 'c': 'é'}|urlencode
{'class': 'x', 'id': none, 'n': 3}|xmlattr
1000|filesizeformat
1|filesizeformat
1234567|filesizeformat
1234567|filesizeformat(true)
'<a href="x">'|escape
'<a>'|e ~ '<b>'
('<a>'|e) + '<b>'
'<a>'|safe
('<a>'|safe) + '<b>'
('<a>'|safe)|upper
('x'|safe)|tojson
['<'|safe]
'%s is %d years, %.2f%% %5s|%-5s|%05d|%x|%r'|format('Bob', 3, 99.5, 'a', 'b', 42, 255, 'q')
'%(a)s %(b)d'|format(a='x', b=2)
'%s' % 'x'
'%s %s' % (1, 2)
'%s' % [1, 2]
'%d' % 'x'
'%s %s' % 1
'{} {}'.format(1, 'x')
'{0} {1} {0}'.format('a', 'b')
'{a} {b.name} {c[k]}'.format(a=1, b=people[0], c={'k': 2})
'{:>8}|{:<8}|{:^8}|{:*^9}'.format('a', 'b', 'c', 'd')
'{:05d} {:+d} {:,} {:x} {:#x} {:b} {:o}'.format(42, 7, 1234567, 255, 255, 5, 8)
'{:.2f} {:10.3f} {:e} {:g} {:%} {:.1%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25, 0.5)
'{!r} {!s}'.format('a', 'b')
'{{}} {}'.format(1)
'{:{}}'.format('a', 5)
'{'.format(1)
'{5}'.format(1)
'{x}'.format(1)
'{:d}'.format('a')
'{:.3}'.format('abcdef')
'{}'.format(none)
'{:.3}'.format(2.0)
'{}'.format(1e16)
s.upper()
s.lower()
u.upper()
u.swapcase()
u.title()
"it's a dog's life".title()
u.capitalize()
u.casefold()
pad.strip()
pad.lstrip()
pad.rstrip()
'xyaxy'.strip('xy')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
'a,b,c'.rsplit(',', 1)
'a-b-c'.split(sep='-', maxsplit=1)
'ab'.split('')
'a\nb\r\nc\x0bd'.splitlines()
'a\nb\n'.splitlines(true)
'abc'.partition('b')
'abc'.partition('x')
'abcb'.rpartition('b')
'abc'.rpartition('x')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.startswith('llo', 2)
s.endswith('ld')
s.endswith('Hello', 0, 5)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('zz')
u.find('ß')
'aXbX'.count('X')
'aaa'.count('')
'aaa'.count('aa')
s.replace('l', 'L')
s.replace('l', 'L', 2)
s.replace('l')
', '.join(names)
', '.join([1])
'abc'.removeprefix('a')
'abc'.removesuffix('bc')
'x'.center(5, '*')
'ab'.center(5)
'x'.ljust(3) ~ '|'
'x'.rjust(3, '-')
'-42'.zfill(6)
'a\tb'.expandtabs(4)
'12'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'ab1'.isalnum()
'ab1'.isalpha()
'日本'.isalpha()
'ab'.islower()
'AB1'.isupper()
'12'.isupper()
'Ab Cd'.istitle()
' \n'.isspace()
''.isspace()
'é'.isascii()
s.encode('utf-8').nosuch.x
l.append(4)
d.update({'x': 1})
d.pop('b')
l.count(3)
l.index(2)
l.index(99)
(1, 2, 1).count(1)
n.bit_length()
f.is_integer()
(2.0).is_integer()
s.__class__
s.__class__.__mro__
''['__class__']
l|attr('append')
d|attr('b')
s|attr('upper')
n is odd
n is even
n is divisibleby(7)
n is divisibleby 3
n is number
n is integer
f is float
t is integer
t is boolean
t is true
t is false
s is string
s is iterable
s is sequence
n is sequence
d is mapping
l is mapping
d is sequence
d.items() is sequence
no is none
no is defined
undefinedname is undefined
undefinedname is none
undefinedname is string
undefinedname is sequence
undefinedname is iterable
undefinedname is callable
n is eq 7
n is ne 7
n is lt(9)
n is ge 7
n is in l
3 is in(l)
n is sameas(n)
no is sameas none
s is lower
'abc' is lower
'ABC' is upper
s is escaped
('a'|e) is escaped
'upper' is filter
'nope' is filter
'odd' is test
range is callable
n is not number
n is nosuch
s|nosuch
n if t else z
n if z
(n if z) is defined
'a' if z else 'b' if no else 'c'
namespace(a=1).a
namespace(a=1).b
namespace(_x=1)
dict(a=1, b=2)
dict([('a', 1)], b=2)
cycler('a', 'b').next()
joiner()
raise_exception('stop: ' ~ n)
range(1000000)
9223372036854775807
"a" "b" 'c'
'\x41\u00e9\101\q\''
[1, 2, [3, (4,), {}]]
()
(1,)
1,
[n, f, s, t, no]
-n ** 2
- -n
+f
not n == 7
n|string|length > 0 and t
s[1:3] ~ s[-1]
messages[0]['content']|e
messages|map(attribute='content')|join('|')
(messages|last).role
messages[-1].role == 'assistant' and messages|length == 2
lipsum
loop
"%c%c" % ('a', 98)
'%5.1f|%-8.3e|%+d|% d' % (3.14159, 31415.9, 5, 5)
'%i' % 3.9
'%s' % none
'%%'
1 if undefinedname else 2
[] is iterable
{} == {}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1.0 == 1
'1' == 1
true == 1
[1.0] == [1]
no == false
d|first
'x'|int(default=5)
'é' < 'z'
l == [3, 1, 2, 3]
1 ~ 2 ~ 3.0 ~ true ~ none
'abc'|list|reverse|join
(l|select('odd')|list + [9])|sum
big
big * 2
big / 3
1/3
100000000000000000000.0
1e100
-0.0
5 // 0
5 % 0
5 / 0
none + 1
n()
s.upper
"caf\u00e9"|upper
"ŉ"|upper
"ǆ"|title
"İ"|lower
"ﬁ"|upper
[3, 'a']|sort
[none, 1]|max
{'a': 1}.items()|list
{'a': 1}.a.b.c
{'a': none}.a.b
{'a': none}.a.b.c
[[1, 2], [3, 4]]|map('first')|list
[[1, 2], [3, 4]]|map('join', '-')|list
[[1, 2], [3, 4]]|sum(start=[])
people|map(attribute='name')|map('lower')|sort|join(' ')
people|rejectattr('x', 'defined')|map(attribute='name')|list
'%s' | format(s|upper)
s|default('x')|lower|replace('l', '')|length
loop is defined
n.real
s.format_map({'a': 1})
'{a}'.format_map({'a': 1})
'a' in ['a', 'b'] and 'c' not in 'abd'
d.a.c[1]['k'] if d.a is defined else 0
l[n]
l[1.0]
s['upper']()
d['get']('b')
""".strip().splitlines()

TEMPLATES = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}\n    b\n  {% endif %}\nc\n\n",
    "a {%- if t -%}  b  {%- endif -%} c",
    "a\n  {%+ if t %}\n b\n  {%+ endif +%}\n c",
    "a\n   {# comment\n over lines #}\nb{#- x -#}  c",
    "   {{ n }}\n   {{- n -}}   \n{{ n }}\n",
    "{% raw %}\n {{ x }} {% y %}\n{% endraw %}\nend",
    "{%- raw -%}  {{ x }}  {%- endraw -%}  end",
    "x  {% raw +%}q{% endraw %}\n\nz",
    "a\r\nb\r{% if t %}\r\nc{% endif %}\r\n",
    "{{ 'a\r\nb' }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.first }}"
    "{{ loop.last }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }} "
    "{{ loop.previtem.role }}-{{ loop.nextitem.role }}\n{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}no{% endfor %}",
    "{% for x in l %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }};{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [1, 2] %}{{ a }}{% endfor %}",
    "{% for c in s %}{{ c }}.{% endfor %}",
    "{% for x in undefinedname %}x{% else %}none{% endfor %}",
    "{% for x in n %}x{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x) }}{% endfor %}",
    "{% for p in [[1, [2, [3]]]] recursive %}[{% for q in p if q is iterable %}{{ q }}{% endfor %}{% endfor %}",
    "{% for x in [1, [2, [3, 4]], 5] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.y = 2 %}{{ ns.y }}{{ ns }}",
    "{% set d.b = 2 %}",
    "{% if t %}{% set y = 5 %}{% endif %}{{ y }}",
    "{% for i in l %}{% if loop.first %}{% set y = 1 %}{% endif %}{{ y is defined }}{% endfor %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}",
    "{% set x %}hi {{ n }}\n{% endset %}[{{ x }}]",
    "{% set x | upper | replace('H', 'J') %}hi{% endset %}{{ x }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=1, a=0) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}",
    "{% macro m(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ m('x') }}",
    "{% macro m() %}{{ n }}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}",
    "{% macro fact(k) %}{% if k > 1 %}{{ k * fact(k - 1)|int }}{% else %}1{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro m() %}{% set q = 3 %}{{ q }}{% endmacro %}{{ m() }}{{ q is defined }}",
    "{% macro m(a) %}<{{ caller() }}|{{ caller() }}>{% endmacro %}{% call m(1) %}in {{ n }}{% endcall %}",
    "{% macro m(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(v, i) m(l) %}{{ i }}={{ v }};{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{{ m is defined }}{% macro m() %}{% endmacro %}{{ m.name }}{{ m }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}abc{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% print n, s %}",
    "{% generation %}a{{ n }}{% endgeneration %}b",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}{% if z %}a{% elif t %}b{% endif %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}",
    "{% nosuch %}", "{% if t %}", "{{ 1", "{{ }}", "{% for x in %}", "{{ 1 + }}",
    "{% set %}", "{{ 'a }}", "{# x", "{% raw %}", "{{ (1 }}", "{{ [1, 2 }}",
    "{{ 1 2 }}", "{% endif %}", "{{ x y }}", "{% if t %}{% endfor %}",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1}}}",
    "{{ {} }}{{ {'a': []} }}", "{%if t%}x{%endif%}", "{{n}}{{-n}}",
    "{{ '{{' }}{{ '%}' }}{{ \"}}\" }}",
    "{% set x = [] %}{{ x }}{% set x = x + [1] %}{{ x }}",
    "{% set t2 = 'a' if t else 'b' %}{{ t2 }}",
    "{% for m in messages %}{{ m['role'] }}: {{ m.content | trim }}{% if not loop.last %}\n{% endif %}{% endfor %}",
    "{{ messages[0].role ~ ':' ~ messages[0]['content'] }}",
    "{% set j = joiner('|') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{{ raise_exception('no') }}", "x{% if t %}{{ raise_exception('a\"b') }}{% endif %}",
    "{% set g = l|select('odd') %}{{ g|list }}{{ g|list }}",
    "{% set g = people|map(attribute='name') %}{{ g|first }}{{ g|list }}",
    "{% for x in l recursive %}{{ x }}{% endfor %}{{ loop is defined }}",
    "{% set loop = 3 %}{{ loop }}{% for x in l %}{{ loop.index }}{% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{% endfor %}{% endfor %}",
    "{% for item in l %}{{ item }}{% endfor %}{{ item is defined }}",
    "{% set item = 'k' %}{% for item in l %}{{ item }}{% endfor %}{{ item }}",
    "\ufeffx", "{{ '\\u65e5' }}", "a{{ '' }}\n\n", "\n\n", "", "{{ n }}\n\n",
    "{%- set a = 1 -%}\n\n {{ a }}\n {%- set b = 2 %}\nx",
    "{{- 'a' }}  {{ 'b' -}}  c  {%- if t %} d {% endif -%} e",
    "  {%- if t %}\n  x\n  {%- endif %}\n  y",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}",
    "{% if t %}{% if z %}a{% else %}b{% endif %}{% endif %}",
    "{% macro a() %}1{% endmacro %}{% macro b() %}{{ a() }}2{% endmacro %}{{ b() }}",
    "{% set f = s.upper %}{{ f() }}",
    "{{ people|map(attribute='name')|join(', ') }} {{ people[0]['x']['y'] }}",
    "{% for g in people|groupby('age') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}",
    "{% for age, ps in people|groupby('age') %}{{ age }}{{ ps|map(attribute='name')|list }}{% endfor %}",
    "{{ l|map('string')|join }}{{ range(3)|map('string')|list }}",
    "{% set x = '' %}{% set x = x ~ 'a' %}{% set x = x ~ 'b' %}{{ x }}",
    "{% set a = 'x' %}{% set b = a + '1' %}{% set c = a + '2' %}{% set e = b + '3' %}{{ a }}{{ b }}{{ c }}{{ e }}",
]


def all_templates():
    return ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES
