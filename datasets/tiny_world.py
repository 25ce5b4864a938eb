# SPDX-License-Identifier: MIT
"""The facts of the small world that make_tiny.py tells, as plain tables."""


def table(text):
    """Rows of the cells between bars; blank lines do not count."""
    return [tuple(cell.strip() for cell in line.split("|"))
            for line in text.strip().splitlines() if line.strip()]


# country | capital | continent | language
COUNTRIES = table("""
France | Paris | Europe | French
Italy | Rome | Europe | Italian
Spain | Madrid | Europe | Spanish
Germany | Berlin | Europe | German
Poland | Warsaw | Europe | Polish
Norway | Oslo | Europe | Norwegian
Sweden | Stockholm | Europe | Swedish
Denmark | Copenhagen | Europe | Danish
Finland | Helsinki | Europe | Finnish
Portugal | Lisbon | Europe | Portuguese
Greece | Athens | Europe | Greek
Hungary | Budapest | Europe | Hungarian
Austria | Vienna | Europe | German
Ireland | Dublin | Europe | English
Romania | Bucharest | Europe | Romanian
Bulgaria | Sofia | Europe | Bulgarian
Croatia | Zagreb | Europe | Croatian
Ukraine | Kyiv | Europe | Ukrainian
Latvia | Riga | Europe | Latvian
Albania | Tirana | Europe | Albanian
Japan | Tokyo | Asia | Japanese
China | Beijing | Asia | Chinese
Vietnam | Hanoi | Asia | Vietnamese
Thailand | Bangkok | Asia | Thai
Nepal | Kathmandu | Asia | Nepali
Iran | Tehran | Asia | Persian
Iraq | Baghdad | Asia | Arabic
Egypt | Cairo | Africa | Arabic
Kenya | Nairobi | Africa | Swahili
Ghana | Accra | Africa | English
Senegal | Dakar | Africa | French
Morocco | Rabat | Africa | Arabic
Tunisia | Tunis | Africa | Arabic
Angola | Luanda | Africa | Portuguese
Mali | Bamako | Africa | French
Brazil | Brasilia | America | Portuguese
Peru | Lima | America | Spanish
Chile | Santiago | America | Spanish
Ecuador | Quito | America | Spanish
Colombia | Bogota | America | Spanish
Cuba | Havana | America | Spanish
Canada | Ottawa | America | English
Jamaica | Kingston | America | English
Australia | Canberra | Oceania | English
Fiji | Suva | Oceania | English
""")

# animal | colour | home | food | young | legs
ANIMALS = table("""
cow | brown | on a farm | grass | calf | four
pig | pink | on a farm | roots | piglet | four
horse | brown | in a stable | hay | foal | four
sheep | white | on a meadow | grass | lamb | four
goat | white | on a hill | leaves | kid | four
dog | brown | in a house | meat | puppy | four
cat | grey | in a house | fish | kitten | four
hen | brown | on a farm | corn | chick | two
duck | white | on a pond | weeds | duckling | two
goose | white | on a pond | grass | gosling | two
swan | white | on a lake | weeds | cygnet | two
frog | green | in a pond | flies | tadpole | four
owl | brown | in a tree | mice | owlet | two
eagle | brown | on a mountain | fish | eaglet | two
lion | yellow | on a plain | meat | cub | four
tiger | orange | in a jungle | meat | cub | four
bear | brown | in a forest | honey | cub | four
wolf | grey | in a forest | meat | pup | four
fox | red | in a forest | mice | kit | four
deer | brown | in a forest | leaves | fawn | four
hare | brown | on a meadow | grass | leveret | four
rabbit | grey | in a burrow | carrots | bunny | four
mouse | grey | in a hole | cheese | pup | four
seal | grey | in the sea | fish | pup | no
whale | blue | in the sea | shrimp | calf | no
shark | grey | in the sea | fish | pup | no
camel | brown | in a desert | grass | calf | four
elephant | grey | on a plain | leaves | calf | four
kangaroo | brown | on a plain | grass | joey | four
spider | black | in a web | flies | spiderling | eight
bee | yellow | in a hive | nectar | larva | six
ant | black | in a nest | seeds | larva | six
crow | black | in a tree | seeds | chick | two
parrot | green | in a jungle | nuts | chick | two
penguin | black | on the ice | fish | chick | two
snake | green | in a hole | mice | snakelet | no
donkey | grey | in a stable | hay | foal | four
zebra | striped | on a plain | grass | foal | four
turtle | green | in the sea | weeds | hatchling | four
squirrel | red | in a tree | nuts | kit | four
""")

# food | kind | colour | taste
FOODS = table("""
apple | fruit | red | sweet
banana | fruit | yellow | sweet
lemon | fruit | yellow | sour
lime | fruit | green | sour
cherry | fruit | red | sweet
plum | fruit | purple | sweet
pear | fruit | green | sweet
peach | fruit | orange | sweet
grape | fruit | purple | sweet
melon | fruit | yellow | sweet
strawberry | fruit | red | sweet
blueberry | fruit | blue | sweet
olive | fruit | green | salty
carrot | vegetable | orange | sweet
potato | vegetable | brown | mild
onion | vegetable | white | sharp
radish | vegetable | red | sharp
pepper | vegetable | red | hot
cucumber | vegetable | green | fresh
pumpkin | vegetable | orange | mild
cabbage | vegetable | green | mild
spinach | vegetable | green | bitter
turnip | vegetable | white | bitter
beet | vegetable | red | earthy
leek | vegetable | green | sharp
""")

OPPOSITES = table("""
hot | cold
big | small
old | young
fast | slow
high | low
hard | soft
long | short
light | dark
wet | dry
full | empty
rich | poor
strong | weak
loud | quiet
early | late
good | bad
near | far
open | closed
clean | dirty
happy | sad
thick | thin
wide | narrow
deep | shallow
asleep | awake
sharp | blunt
left | right
up | down
in | out
day | night
black | white
true | false
first | last
more | less
always | never
love | hate
war | peace
friend | enemy
buy | sell
win | lose
push | pull
give | take
""")

# job | what it is
JOBS = table("""
baker | bakes bread
farmer | grows food
teacher | teaches children
doctor | heals people
tailor | sews clothes
pilot | flies planes
sailor | sails ships
driver | drives cars
painter | paints pictures
writer | writes books
singer | sings songs
dancer | dances on a stage
cook | cooks meals
waiter | serves meals
builder | builds houses
carpenter | works with wood
smith | works with iron
potter | makes pots
miner | digs for coal
fisher | catches fish
hunter | hunts deer
gardener | plants flowers
judge | judges people
soldier | guards the land
nurse | cares for the sick
dentist | mends teeth
barber | cuts hair
butcher | sells meat
grocer | sells fruit
librarian | lends books
""")

PLURALS = table("""
mouse | mice
goose | geese
foot | feet
tooth | teeth
man | men
woman | women
child | children
ox | oxen
leaf | leaves
wolf | wolves
knife | knives
wife | wives
life | lives
half | halves
loaf | loaves
baby | babies
city | cities
lady | ladies
story | stories
berry | berries
box | boxes
fox | foxes
dish | dishes
church | churches
bus | buses
glass | glasses
potato | potatoes
hero | heroes
book | books
tree | trees
house | houses
river | rivers
""")

PAST = table("""
go | went
see | saw
eat | ate
run | ran
come | came
take | took
give | gave
find | found
make | made
write | wrote
speak | spoke
break | broke
drive | drove
ride | rode
sing | sang
swim | swam
drink | drank
begin | began
know | knew
grow | grew
fly | flew
draw | drew
throw | threw
buy | bought
bring | brought
think | thought
teach | taught
catch | caught
sleep | slept
keep | kept
feel | felt
leave | left
lose | lost
win | won
hold | held
tell | told
sell | sold
stand | stood
walk | walked
play | played
""")
